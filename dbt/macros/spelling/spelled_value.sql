{#-
    A column's cleaned value, in the spelling that its source declares, as text that its parse type reads: see iso_8601,
    plain_number, from_minor_units, amount_without_currency and with_offset. Null if it is not in that spelling, or if its currency is not known, or
    not the declared one.

    column: from declared_columns
-#}
{% macro spelled_value(column) -%}
    {%- set value, spelling = column_in('cleaned', column.name), column.spelling -%}
    {%- set spelled = namespace(sql=value) -%}
    {%- if column.has_currency -%}
        {%- set spelled.sql = amount_without_currency(spelled.sql, spelling.signs) -%}
    {%- endif -%}
    {%- if spelling.decimal -%}
        {%- set spelled.sql = plain_number(spelled.sql, spelling.decimal) -%}
    {%- endif -%}
    {%- if spelling.minor_units -%}
        {%- set spelled.sql = from_minor_units(spelled.sql, spelling.minor_units, currency_of(column) if column.has_currency) -%}
    {%- endif -%}
    {%- if spelling.format -%}
        {%- set spelled.sql = iso_8601(spelled.sql, spelling.format) -%}
    {%- endif -%}
    {%- if spelling.offset_from -%}
        {%- set spelled.sql = with_offset(spelled.sql, column_in('cleaned', spelling.offset_from)) -%}
    {%- endif -%}
    {%- if column.has_currency -%}
    case
        when {{ currency_in(value, spelling.signs) }} <> {{ declared_currency(spelling) }} then null
        when {{ currency_of(column) }} is not null then {{ spelled.sql }}
    end
    {%- else -%}
    {{ spelled.sql }}
    {%- endif -%}
{%- endmacro %}


{#- The currency of a column's amount: the one in the value, else the declared one. -#}
{% macro currency_of(column) -%}
    coalesce({{ currency_in(column_in('cleaned', column.name), column.spelling.signs) }}, {{ declared_currency(column.spelling) }})
{%- endmacro %}


{#- The currency that a source declares for a column, or that another column of the row names; null if neither. -#}
{% macro declared_currency(spelling) -%}
    {%- if spelling.currency_from -%}
    case
        when {{ matches('upper(' ~ column_in('cleaned', spelling.currency_from) ~ ')', '^[A-Z]{3}$') }}
            then upper({{ column_in('cleaned', spelling.currency_from) }})
    end
    {%- elif spelling.currency -%}
    '{{ spelling.currency }}'
    {%- else -%}
    cast(null as {{ dbt.type_string() }})
    {%- endif -%}
{%- endmacro %}


{#-
    A local time in ISO 8601 with the offset from UTC that another column has: in minutes (120, -300), or as +02:00. A time with an
    offset of its own keeps it. Null if the offset can't be read.

    value, offset: SQL expressions of cleaned text
-#}
{% macro with_offset(value, offset) -%}
    {%- set minutes = 'abs(cast(' ~ offset ~ ' as integer))' -%}
    {%- set time = "case when " ~ matches(value, ':') ~ " then '' else ' 00:00' end" -%}
    case
        when {{ matches(value, ':.*[Zz+-]') }} then {{ value }}
        when {{ matches(offset, '^[+-]?[0-9]{1,3}$') }}
            then
                {{ value }} || {{ time }} || case when {{ offset }} like '-%' then '-' else '+' end
                || lpad(cast(cast(floor({{ minutes }} / 60.0) as integer) as {{ dbt.type_string() }}), 2, '0') || ':'
                || lpad(cast({{ minutes }} % 60 as {{ dbt.type_string() }}), 2, '0')
        when {{ matches(offset, '^[+-][0-9]{2}:?[0-9]{2}$') }} then {{ value }} || {{ time }} || {{ offset }}
    end
{%- endmacro %}


{#-
    A local time, which is a timestamp without a zone, in UTC; null in the hour that daylight saving time leaves out. In the hour that
    comes twice, it is the earlier of both.

    value: SQL expression of a timestamp without a zone
    zone: SQL expression of the name of a time zone, such as Europe/Berlin; it has to be one, or null (see zone_name)
-#}
{% macro local_to_utc(value, zone) -%}
    {%- set candidates = [] -%}
    {%- for minutes in (120, 60, 30, 0) -%}
        {%- do candidates.append(zoned_to_utc(value, zone) ~ " - interval '" ~ minutes ~ " minutes'") -%}
    {%- endfor -%}
    case
        {%- for candidate in candidates %}
        when {{ utc_to_zoned(candidate, zone) }} = {{ value }} then {{ candidate }}
        {%- endfor %}
    end
{%- endmacro %}


{#- A timestamp of a zone in UTC, however the engine decides the hour that comes twice. -#}
{% macro zoned_to_utc(value, zone) -%}
    {{ return(adapter.dispatch('zoned_to_utc', 'granary')(value, zone)) }}
{%- endmacro %}

{% macro default__zoned_to_utc(value, zone) -%}
    ({{ value }} at time zone {{ zone }} at time zone 'UTC')
{%- endmacro %}


{#- A timestamp in UTC as clocks of a zone show it. -#}
{% macro utc_to_zoned(value, zone) -%}
    {{ return(adapter.dispatch('utc_to_zoned', 'granary')(value, zone)) }}
{%- endmacro %}

{% macro default__utc_to_zoned(value, zone) -%}
    (({{ value }}) at time zone 'UTC' at time zone {{ zone }})
{%- endmacro %}


{#- The zone of a column's times without an offset: the declared one, or the one that delivered_rows has for it. -#}
{% macro zone_of(column) -%}
    {%- if column.timezone -%}
    '{{ column.timezone }}'
    {%- elif column.timezone_from -%}
    {{ column_in('timed', column.name ~ ' timezone') }}
    {%- endif -%}
{%- endmacro %}


{#-
    The name of a time zone, such as Europe/Berlin or UTC, from cleaned text; null if it is not one that the engine knows, spelled so.

    Abbreviations aren't names: CET has summer time for some engines, and none for others. So are names that only some engines have.

    value: SQL expression of cleaned text
-#}
{% macro zone_name(value) -%}
    {%- set areas = 'Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Brazil|Chile|Etc|Europe|Indian|Mexico|Pacific' -%}
    {%- set pattern = '^(UTC|(Canada|US)/[A-Za-z]+|(' ~ areas ~ ')/[A-Za-z0-9_/+-]+)$' -%}
    case when {{ matches(value, pattern) }} and {{ is_known_zone(value) }} then {{ value }} end
{%- endmacro %}


{#- Whether the engine knows a zone of this name: where it doesn't, a conversion would be an error. -#}
{% macro is_known_zone(value) -%}
    {{ return(adapter.dispatch('is_known_zone', 'granary')(value)) }}
{%- endmacro %}

{#
    A query reads the view once, in 20 to 90 ms, if any row has such a name, and hashes it. pg_input_is_valid takes 9 s for a million
    rows, and knows POSIX rules and other cases of letters, too.
#}
{% macro default__is_known_zone(value) -%}
    {{ value }} in (select name from pg_timezone_names)
{%- endmacro %}


{#- What a value of a column looks like in its declared spelling, for people; nothing if none is declared. -#}
{% macro example_of(column) -%}
    {%- set spelling, parts = column.spelling, [] -%}
    {%- set shown = {
        'YYYY': '2026', 'YY': '26', 'MM': '12', 'M': '12', 'Mon': 'Dec', 'DD': '31', 'D': '31', 'Ddd': 'Thu', 'HH': '17', 'H': '17',
        'hh': '05', 'h': '5', 'mm': '09', 'ss': '07', 'f': '123', 'AM': 'PM', 'Z': '+01:00',
    } -%}
    {%- set words = {'iso': '2026-12-31', 'excel': '46387', 'epoch_s': '1798710000', 'epoch_ms': '1798710000000'} -%}
    {%- for format in ([spelling.format] if spelling.format is string else spelling.format or []) -%}
        {%- if format in words -%}
            {%- do parts.append(words[format]) -%}
        {%- else -%}
            {%- set text = [] -%}
            {%- for token in tokens_of_moment(format) -%}
                {%- do text.append(shown.get(token.name, token.name)) -%}
            {%- endfor -%}
            {%- do parts.append(text | join) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if spelling.decimal -%}
        {%- do parts.append({'.': '1,044.90', ',': '1.044,90', 'any': '1.044,90 or 1,044.90'}[spelling.decimal]) -%}
    {%- endif -%}
    {{ parts | join(' or ') }}
{%- endmacro %}
