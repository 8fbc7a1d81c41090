-- A row is not replaced by a row of its own file with other values: a correction comes in a file of its own. Where it happens,
-- the values of the earlier row are lost, so somebody should look: either the file holds several versions, or the key of the
-- entity (`current_version` in the source's YAML) does not tell its rows apart.
{{ config(severity='warn') }}

select
    overwritten.feed,
    overwritten.entity,
    batches.file_path,
    count(*) as row_count,
    min(overwritten._row_id - batches.first_row_id + 1) as first_line_number
from {{ ref('int_quality__overwritten_rows') }} as overwritten
inner join {{ ref('stg_ledger__batches') }} as batches
    on overwritten._batch_id = batches.batch_id
group by
    overwritten.feed,
    overwritten.entity,
    batches.file_path
