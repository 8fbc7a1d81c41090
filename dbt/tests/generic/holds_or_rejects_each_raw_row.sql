{#-
    Each row of the raw table is either in the staging model or among the rejected rows (severity `row`), never in both or in
    neither.

    raw: the source of the staging model
-#}
{% test holds_or_rejects_each_raw_row(model, raw, feed, entity) %}

    with

    raw_rows as (

        select _row_id from {{ raw }}
        where _batch_id > {{ tested_batch() }}

    ),

    staged as (

        select _row_id from {{ model }}
        where _batch_id > {{ tested_batch() }}

    ),

    rejected as (

        select distinct _row_id from {{ ref('int_quality__rejections') }}
        where
            _batch_id > {{ tested_batch() }}
            and severity = 'row'
            and _row_id is not null
            and feed = '{{ feed }}'
            and entity = '{{ entity }}'

    )

    select
        coalesce(raw_rows._row_id, staged._row_id, rejected._row_id) as _row_id,
        raw_rows._row_id is not null as is_in_raw,
        staged._row_id is not null as is_staged,
        rejected._row_id is not null as is_rejected
    from raw_rows
    full outer join staged
        on raw_rows._row_id = staged._row_id
    full outer join rejected
        on raw_rows._row_id = rejected._row_id
    where
        raw_rows._row_id is null
        or (staged._row_id is null) = (rejected._row_id is null)

{% endtest %}
