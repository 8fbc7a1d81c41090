{#-
    A from clause over a landing table that provides each row in three forms: `delivered` as it came, `cleaned` of whitespace and
    markers of nothing (with the default if nothing is left), and `parsed` as the source declares (see declared_columns), all with the
    delivered column names. Where columns declare a spelling, there is `spelled` as well, with the text that is parsed.

    feed, entity: names of the source and its table
    columns: its columns, from declared_columns
-#}
{% macro delivered_rows(feed, entity, columns) %}
    {%- set zones_from = columns | selectattr('timezone_from') | list %}
    {%- set has_zones = (zones_from + columns | selectattr('timezone') | list) | length > 0 %}
    from {{ source(feed, entity) }} as delivered
    cross join lateral (
        select
            {%- for column in columns %}
            {% if column.default is defined and column.default is not none -%}
            coalesce(
                {{ clean_text(column_in('delivered', column.name), column.get('nulls')) }}, '{{ dbt.escape_single_quotes(column.default | string) }}'
            ) as {{ adapter.quote(column.name) }}
            {%- else -%}
            {{ clean_text(column_in('delivered', column.name), column.get('nulls')) }} as {{ adapter.quote(column.name) }}
            {%- endif %}
            {%- if not loop.last %},{% endif %}
            {%- endfor %}
        {{ one_row() }}
    ) as cleaned
    {%- set spelled = columns | selectattr('spelling') | list %}
    {%- if spelled %}
    cross join lateral (
        select
            {%- for column in spelled %}
            {{ spelled_value(column) }} as {{ adapter.quote(column.name) }}
            {%- if column.has_currency %},
            {{ currency_of(column) }} as {{ adapter.quote(column.name ~ '_currency') }}
            {%- endif %}
            {%- if not loop.last %},{% endif %}
            {%- endfor %}
        {{ one_row() }}
    ) as spelled
    {%- endif %}
    cross join lateral (
        select
            {%- for column in columns %}
            {{ parse_column(column, column_in('spelled' if column.spelling else 'cleaned', column.name)) }} as {{ adapter.quote(column.name) }}
            {%- if not loop.last %},{% endif %}
            {%- endfor %}
            {%- for column in zones_from %},
            {{ zone_name(column_in('cleaned', column.timezone_from)) }} as {{ adapter.quote(column.name ~ ' timezone') }}
            {%- endfor %}
        {{ one_row() }}
    ) as {{ 'timed' if has_zones else 'parsed' }}
    {%- if has_zones %}
    cross join lateral (
        select
            {%- for column in columns %}
            {%- set value, text = column_in('timed', column.name), column_in('spelled' if column.spelling else 'cleaned', column.name) %}
            {% if zone_of(column) -%}
            case when {{ matches(text, ':.*[Zz+−-]') }} then {{ value }} else {{ local_to_utc(value, zone_of(column)) }} end
            {%- else %}{{ value }}{% endif %} as {{ adapter.quote(column.name) }}
            {%- if not loop.last %},{% endif %}
            {%- endfor %}
        {{ one_row() }}
    ) as parsed
    {%- endif %}
{% endmacro %}


{#- Keeps the engine from inlining a subquery of one row, which would compute each expression wherever its column is used. -#}
{% macro one_row() -%}
    {{ return(adapter.dispatch('one_row', 'granary')()) }}
{%- endmacro %}

{% macro default__one_row() -%}
    limit 1
{%- endmacro %}


{#- A column of an alias as SQL, quoted: its name may begin with a digit. -#}
{% macro column_in(rows, name) %}
    {{ return(rows ~ '.' ~ adapter.quote(name)) }}
{% endmacro %}


{#- SQL with columns in braces as SQL over the columns of an alias. -#}
{% macro columns_in(rows, sql) %}
    {%- set quote = adapter.quote('')[0] -%}
    {{ return(sql | replace('{', rows ~ '.' ~ quote) | replace('}', quote)) }}
{% endmacro %}


{#- The SQL expression that parses a declared column, given an expression of its cleaned text. -#}
{% macro parse_column(column, value) -%}
    {%- set parser = context.get('parse_' ~ column.parse) -%}
    {%- if parser is none -%}
        {{ exceptions.raise_compiler_error(
            "Source column " ~ column.name ~ " declares `parse: " ~ column.parse ~ "`, but there is no macro parse_"
            ~ column.parse ~ ": choose one from dbt/macros/parsing, or add it."
        ) }}
    {%- endif -%}
    {{ parser(value, decimals=column.scale) if column.get('scale') is not none else parser(value) }}
{%- endmacro %}


{#-
    The checks of the rows of delivered_rows, as a list of {column, severity, reason, explanation, fails}: `fails` is the
    condition under which a value is rejected, and is never true for two checks of the same column. With severity `row` the
    whole row is rejected, with `value` only the value.
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
                'fails': column_in('cleaned', column.name) ~ ' is null',
            }) -%}
        {%- endif -%}
        {%- set unreadable = column_in('cleaned', column.name) ~ ' is not null and ' ~ column_in('parsed', column.name) ~ ' is null' -%}
        {%- if column.timezone_from -%}
            {%- set without_zone = column_in('timed', column.name) ~ ' is not null and ' ~ zone_of(column) ~ ' is null' -%}
            {%- do checks.append({
                'column': column.name,
                'severity': severity,
                'reason': 'unreadable',
                'explanation': 'has no offset, and no time zone such as Europe/Berlin in ' ~ column.timezone_from,
                'fails': unreadable ~ ' and ' ~ without_zone,
            }) -%}
            {%- set unreadable = unreadable ~ ' and not (' ~ without_zone ~ ')' -%}
        {%- endif -%}
        {%- if column.parse != 'text' -%}
            {%- do checks.append({
                'column': column.name,
                'severity': severity,
                'reason': 'unreadable',
                'explanation': 'is not ' ~ column.parse ~ ' like ' ~ example_of(column) if column.spelling and example_of(column)
                    else 'cannot be read as ' ~ column.parse,
                'fails': unreadable,
            }) -%}
        {%- endif -%}
        {%- if column.must -%}
            {%- do checks.append({
                'column': column.name,
                'severity': severity,
                'reason': 'invalid',
                'explanation': 'is not valid: ' ~ (column.must | replace('{', '') | replace('}', '')),
                'fails': '(' ~ columns_in('parsed', column.must) ~ ') is false',
            }) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(checks) }}
{% endmacro %}


{#- Batches whose rows are rejected because their file was delivered again with different content (bin/ingest --replace). -#}
{% macro replaced_batches() -%}
    (select batch_id from {{ source('ledger', '_batches') }} where status = 'replaced')
{%- endmacro %}
