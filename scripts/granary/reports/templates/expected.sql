{# The rows of some batches of a raw table, with the columns that expectations look at: see expected.py.
   `read` is <column>_read as SQL over {0}, the column, whose format is right. #}
{% set number = "case when {0} ~ '[(−-]' then -1 else 1 end * cast(regexp_replace({0}, '[^0-9.]', '', 'g') as numeric)" %}
{% set power = "regexp_replace(replace({0}, '−', '-'), '^(.*)-$', '-\\1')" %}
{% set iso = "regexp_replace(translate({0}, ',−', '.-'), '([.][0-9]{{6}})[0-9]+', '\\1')" %}
{% set moment = "cast(" ~ iso ~ " || case when {0} ~ ':.*[A-Za-z+−-]' then '' else ' UTC' end as timestamptz)" %}
{% set time = "case when pg_input_is_valid(" ~ iso ~ ", 'timestamptz') then case when "
    ~ moment ~ " >= '0001-01-01 UTC' and " ~ moment ~ " < '10000-01-01 UTC' then " ~ moment ~ " end end" %}
{% set read = {
    "amount": number,
    "date": "cast((" ~ time ~ ") at time zone 'UTC' as date)",
    "discount": "case when {0} ~ '%' then 0.01 else 1 end * " ~ number,
    "epoch_ms": "cast({0} as numeric)",
    "epoch_s": "cast({0} as numeric)",
    "integer": "case when " ~ number ~ " between -9223372036854775808 and 9223372036854775807 then " ~ number ~ " end",
    "label": "btrim(regexp_replace(lower({0}), '[^[:alnum:]]+', '_', 'g'), '_')",
    "number": "case when pg_input_is_valid(" ~ power ~ ", 'numeric(38, 18)') then cast(" ~ power ~ " as numeric) end",
    "price": number,
    "timestamp": time,
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
