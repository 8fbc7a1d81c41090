{#- What DuckDB says differently from PostgreSQL. Each macro is described where it is dispatched. -#}

{% macro duckdb__exported_tables() %}
    {%- set files = "glob('" ~ (env_var('GRANARY_LAKE') | replace("'", "''")) ~ "/raw/*/*.parquet')" -%}
    {{ return(run_query("select distinct split_part(file, '/', -2) from " ~ files).columns[0].values() | list) }}
{% endmacro %}

{% macro duckdb__lake_files(folder) -%}
    read_parquet('{{ folder | replace("'", "''") }}/*.parquet', union_by_name = true)
{%- endmacro %}

{# `~` is another operator. #}
{% macro duckdb__matches(value, pattern) -%}
    regexp_matches({{ value }}, '{{ pattern }}')
{%- endmacro %}

{% macro duckdb__words_joined_by_underscores(value) -%}
    trim(regexp_replace({{ value }}, '[{{ between_words("\\x{%x}") }}]+', '_', 'g'), '_')
{%- endmacro %}

{# Escapes are those of ASCII only. #}
{% macro duckdb__trim_whitespace(value) -%}
    {%- set characters = outer_characters() | replace('\t', '\\t') | replace('\n', '\\n') | replace('\r', '\\r')
        | replace('\f', '\\f') | replace('\x0b', '\\x0b') -%}
    trim({{ value }}, e'{{ characters }}')
{%- endmacro %}

{% macro duckdb__to_number(value) -%}
    try_cast({{ value }} as numeric(38, 18))
{%- endmacro %}

{% macro duckdb__to_utc(value) -%}
    {%- set readable = "replace(" ~ value ~ ", ' Z', 'Z')" -%}
    {%- set readable = "regexp_replace(" ~ readable ~ ", '(:.*) ([+-])', '\\1\\2')" -%}
    {%- set converted = "try_cast(" ~ readable ~ " as timestamptz) at time zone 'UTC'" -%}
    case
        when {{ value }} like '0000-%' then null
        when {{ matches(value, ':.*[Z+-]') }}
            then
                case
                    when {{ converted }} between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then {{ converted }}
                end
        else try_cast({{ value }} as timestamp)
    end
{%- endmacro %}

{% macro duckdb__is_known_zone(value) -%}
    {{ value }} in (select name from pg_timezone_names())
{%- endmacro %}

{% macro duckdb__microseconds_after_1970(value) -%}
    make_timestamp({{ value }})
{%- endmacro %}

{% macro duckdb__regex_group(value, pattern, number) -%}
    regexp_extract({{ value }}, '{{ pattern }}', {{ number }})
{%- endmacro %}

{# Text sorts by code points. #}
{% macro duckdb__binary_order(value) -%}
    {{ value }}
{%- endmacro %}

{#
    DuckDB divides decimals in floating point. This is the long division of school, in integers, four digits at a time; a value
    that is too large for it is an error.
#}
{% macro duckdb__ratio(numerator, denominator, decimals) -%}
    {%- set start -%}
        [{
            'n': cast({{ numerator }} as numeric(38, 18)),
            'd': nullif(cast({{ denominator }} as numeric(38, 18)), 0)
        }]
    {%- endset -%}
    {%- set steps = namespace(sql="list_transform(" ~ start ~ ", lambda x: {'sign': sign(x.n) * sign(x.d), 'n': "
        ~ duckdb_unscaled('abs(x.n)') ~ ", 'd': " ~ duckdb_unscaled('abs(x.d)') ~ "})") -%}
    {%- set steps.sql = "list_transform(" ~ steps.sql ~ ", lambda x: {'sign': x.sign, 'd': x.d, 'q': x.n // x.d, 'r': x.n % x.d})" -%}
    {%- for digits in [4] * (decimals // 4) + ([decimals % 4] if decimals % 4 else []) -%}
        {%- set shifted = 'x.r * ' ~ 10 ** digits -%}
        {%- set steps.sql = "list_transform(" ~ steps.sql ~ ", lambda x: {'sign': x.sign, 'd': x.d, 'q': x.q * " ~ 10 ** digits
            ~ " + (" ~ shifted ~ ") // x.d, 'r': (" ~ shifted ~ ") % x.d})" -%}
    {%- endfor -%}
    list_transform(
        {{ steps.sql }},
        lambda x: cast(x.sign * (x.q + case when x.r >= x.d - x.r then 1 else 0 end) as numeric(38, 0))
        * cast({{ '1' if decimals == 0 else '0.' ~ '0' * (decimals - 1) ~ '1' }} as numeric({{ [decimals, 1] | max }}, {{ decimals }}))
    )[1]
{%- endmacro %}

{#- A non-negative numeric(38, 18) as the integer that is 10^18 times as large. -#}
{% macro duckdb_unscaled(value) -%}
    cast(trunc({{ value }}) as hugeint) * 1000000000000000000
    + cast(({{ value }} - trunc({{ value }})) * 1000000000000000000 as hugeint)
{%- endmacro %}

{% macro duckdb__fingerprint_of(relation) -%}
    {%- set row = 'cast(seed as text)' -%}
    (select md5(coalesce(string_agg({{ row }}, '' order by {{ row }}), '')) from {{ relation }} as seed)
{%- endmacro %}

{# Nothing is inlined twice here, and a limit would keep DuckDB from seeing that each row is computed by itself. #}
{% macro duckdb__one_row() -%}
{%- endmacro %}

{# dbt_utils joins all columns with themselves, which loses rows with nulls. #}
{% macro duckdb__deduplicate(relation, partition_by, order_by) -%}
    select distinct on ({{ partition_by }}) *
    from {{ relation }}
    order by {{ partition_by }}, {{ order_by }}
{%- endmacro %}
