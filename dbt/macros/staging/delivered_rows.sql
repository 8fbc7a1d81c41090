{#-
    A from clause over a landing table that gives each row three times: `delivered` as it came, `cleaned` of whitespace and
    sentinels (with the default where nothing is left), and `parsed` as the source declares it (see declared_columns), all
    under the delivered names.

    feed, entity: names of the source and its table
    columns: what is declared of it
-#}
{% macro delivered_rows(feed, entity, columns) %}
    {#- The limits change nothing in the result: they keep PostgreSQL from merging the subqueries into the whole, where each
        expression would be computed again wherever its column is used. #}
    from {{ source(feed, entity) }} as delivered
    cross join lateral (
        select
            {%- for column in columns %}
            {% if column.default is defined and column.default is not none -%}
            coalesce({{ clean_text('delivered.' ~ column.name) }}, '{{ column.default | string | replace("'", "''") }}') as {{ column.name }}
            {%- else -%}
            {{ clean_text('delivered.' ~ column.name) }} as {{ column.name }}
            {%- endif %}
            {%- if not loop.last %},{% endif %}
            {%- endfor %}
        limit 1
    ) as cleaned
    cross join lateral (
        select
            {%- for column in columns %}
            {{ parse_column(column, 'cleaned.' ~ column.name) }} as {{ column.name }}
            {%- if not loop.last %},{% endif %}
            {%- endfor %}
        limit 1
    ) as parsed
{% endmacro %}


{#- The expression that parses a declared column from an expression of its cleaned text. -#}
{% macro parse_column(column, value) -%}
    {%- set parser = context.get('parse_' ~ column.parse) -%}
    {%- if parser is none -%}
        {{ exceptions.raise_compiler_error(
            "Source column " ~ column.name ~ " declares `parse: " ~ column.parse ~ "`, and there is no macro parse_" ~ column.parse
            ~ ". See macros/parsing for those there are."
        ) }}
    {%- endif -%}
    {{ parser(value) }}
{%- endmacro %}


{#-
    What is checked of the rows of delivered_rows, as a list of {column, severity, reason, explanation, fails}: `fails` is the
    condition under which the value is rejected, never true for two checks of a column at once. Severity `row`: the whole row
    is rejected. Severity `value`: only the value is.
-#}
{% macro checks_of(columns) %}
    {%- set checks = [] -%}
    {%- for column in columns -%}
        {%- set severity = 'row' if column.required else 'value' -%}
        {%- if column.required -%}
            {%- do checks.append({
                'column': column.name,
                'severity': severity,
                'reason': 'missing_required',
                'explanation': 'required, but missing',
                'fails': 'cleaned.' ~ column.name ~ ' is null',
            }) -%}
        {%- endif -%}
        {%- if column.parse != 'text' -%}
            {%- do checks.append({
                'column': column.name,
                'severity': severity,
                'reason': 'unreadable',
                'explanation': 'cannot be read as ' ~ column.parse,
                'fails': 'cleaned.' ~ column.name ~ ' is not null and parsed.' ~ column.name ~ ' is null',
            }) -%}
        {%- endif -%}
        {%- if column.must -%}
            {%- do checks.append({
                'column': column.name,
                'severity': severity,
                'reason': 'invalid',
                'explanation': 'is not valid: ' ~ (column.must | replace('{', '') | replace('}', '')),
                'fails': '(' ~ (column.must | replace('{', 'parsed.') | replace('}', '')) ~ ') is false',
            }) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(checks) }}
{% endmacro %}


{#- Batches whose rows are rejected: their path was delivered again with other bytes (bin/ingest --replace). -#}
{% macro replaced_batches() -%}
    (select batch_id from {{ source('ledger', '_batches') }} where status = 'replaced')
{%- endmacro %}
