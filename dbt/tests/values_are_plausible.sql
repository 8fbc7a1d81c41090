-- Values are as they should be (`should` in the sources' YAML). Where they are not, they are kept: somebody should look at them.
{{ config(severity='warn') }}

select
    feed,
    entity,
    file_path,
    column_name,
    explanation,
    count(*) as value_count,
    min(kept_value) as example,
    min(line_number) as first_line_number
from {{ ref('implausible_values') }}
group by
    feed,
    entity,
    file_path,
    column_name,
    explanation
