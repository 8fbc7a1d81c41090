{{ config(materialized='view') }}

with

counted as (

    {%- for entity in current_versions() %}
    select
        '{{ entity.feed }}' as feed,
        '{{ entity.entity }}' as entity,
        _batch_id,
        count(*) as rows_current_count
    from {{ ref(entity.model) }}
    {%- if entity.is_current %}
    where is_current
    {%- endif %}
    group by _batch_id
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}

),

final as (

    select
        -- ids
        feed,
        entity,

        -- numerics
        rows_current_count,

        -- provenance
        _batch_id

    from counted

)

select * from final
