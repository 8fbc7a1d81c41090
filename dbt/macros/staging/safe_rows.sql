{#-
    The rows of a landing table that are safe to use: typed, under the delivered names, with their provenance.

    Each column is cleaned, then parsed as the source declares it (see declared_columns). Rows in which a required column
    has no value that parses are left out, and so are rows of a replaced batch: rejected_values lists them.

    feed, entity: names of the source and its table
-#}
{% macro safe_rows(feed, entity) %}
    {%- set delivered = source(feed, entity) -%}
    {%- set ledger = replaced_batches() -%}
    {%- set columns = declared_columns(feed, entity) if execute else [] -%}
    select parsed.*
    from (
        select
            {%- for column in columns %}
            {{ parse_column(column, column.name) }} as {{ column.name }},
            {%- endfor %}
            _batch_id,
            _row_id
        from (
            select
                {%- for column in columns %}
                {{ clean_text(column.name) }} as {{ column.name }},
                {%- endfor %}
                _batch_id,
                _row_id
            from {{ delivered }}
            where _batch_id not in {{ ledger }}
        ) as cleaned
    ) as parsed
    where
        true
        {%- for column in columns if column.required %}
        and parsed.{{ column.name }} is not null
        {%- endfor %}
{% endmacro %}
