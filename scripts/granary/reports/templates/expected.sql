{# The rows of some batches of a raw table, with the columns that expectations look at: see expected.py.
   `read` is <column>_read as SQL over {0}, the column, whose format is right. #}
{% set number = "case when {0} ~ '[(-]' then -1 else 1 end * cast(regexp_replace({0}, '[^0-9.]', '', 'g') as numeric)" %}
{% set read = {
    "amount": number,
    "date": "case when pg_input_is_valid({0}, 'date') then cast({0} as date) end",
    "discount": "case when {0} ~ '%' then 0.01 else 1 end * " ~ number,
    "epoch_ms": "cast({0} as bigint)",
    "integer": "cast({0} as bigint)",
    "label": "btrim(regexp_replace(lower({0}), '[^[:alnum:]]+', '_', 'g'), '_')",
    "number": "case when pg_input_is_valid({0}, 'numeric(38, 18)') then cast({0} as numeric) end",
    "price": number,
    "timestamp": "case when pg_input_is_valid({0}, 'timestamptz') then cast({0} as timestamptz) end",
} %}
select *
from (
    with trimmed as (
        select
            batches.path as file,
            delivered._row_id - batches.first_row_id + 1 as line
            {% for column in columns %}
            , {{ trim("delivered." ~ column.name) }} as {{ column.name }}
            {% endfor %}
        from raw.{{ table }} as delivered
        inner join raw._batches as batches on delivered._batch_id = batches.batch_id
        where batches.batch_id = any(cast(array[{{ batch_ids | join(", ") }}] as bigint[]))
        order by delivered._batch_id, delivered._row_id
    ),

    cleaned as (
        select
            file,
            line
            {% for column in columns %}
            , case
                when {{ column.name }} not in ('', '-', 'N/A', 'NULL', 'None', 'null') then {{ column.name }}
                {% if column.default is not none %}
                else '{{ column.default | string | replace("'", "''") }}'
                {% endif %}
            end as {{ column.name }}
            {% endfor %}
        from trimmed
    ),

    as_read as (
        select
            *
            {% for column in columns if column.parse in read %}
            , case
                when {{ column.name }} ~ '{{ formats[column.parse][0] }}' then {{ read[column.parse].format(column.name) }}
            end as {{ column.name }}_read
            {% endfor %}
        from cleaned
    ),

    checked as (
        select
            *
            {% for column in columns if column.parse in possible %}
            , case
                when {{ column.name }} ~ '{{ formats[column.parse][0] }}' and {{ column.name }}_read is null
                    then {{ column.name }}
            end as {{ column.name }}_impossible
            {% endfor %}
        from as_read
    )

    select
        *
        {% for name, expression in computed.items() %}
        , {{ expression }} as {{ name }}
        {% endfor %}
    from checked
) as delivered
