{#-
    A date or time in declared formats as text in ISO 8601, which parse_date and parse_timestamp read; null if the text is in none of
    the formats. Whether the day exists is for them to say.

    A format is text with these tokens; all else in it stands for itself:
        YYYY YY     year; of two digits, 69 to 99 are 1969 to 1999, and 00 to 68 are 2000 to 2068
        MM M Mon    month: two digits, one or two, English name (Feb, February, in any case, with or without a point)
        DD D Ddd    day: two digits, one or two; name of a weekday, which means nothing
        HH H hh h   hour: 00 to 23, or with AM 01 to 12; two digits, one or two
        mm ss f AM  minute; second; digits of a fraction; am or pm, in any case (a.m.)
        Z           offset: Z, UTC, GMT, +02:00, +0200, +02, GMT+2 or GMT+02:00
    or one of the words
        iso         ISO 8601, as without a format
        excel       days since 1899-12-30, from 61 (1900-03-01) on, with a fraction, rounded to milliseconds
        epoch_s, epoch_ms   see parse_epoch_s and parse_epoch_ms

    value: SQL expression of cleaned text
    formats: a format, or a list of them, of which no two read the same text (scripts/granary/spelling.py sees to that)
-#}
{% macro iso_8601(value, formats) -%}
    {%- set lowered = 'lower(' ~ value ~ ')' -%}
    case
        {%- for format in ([formats] if formats is string else formats) %}
        {%- if format == 'iso' %}
        when {{ matches(value, '^[0-9]{4}-') }} then {{ value }}
        {%- elif format in ('epoch_s', 'epoch_ms') %}
        {%- set moment = context['parse_' ~ format](value) %}
        when {{ moment }} is not null then cast({{ moment }} as {{ dbt.type_string() }}) || 'Z'
        {%- elif format == 'excel' %}
        when {{ matches(value, '^[0-9]{2,7}([.][0-9]{1,20})?$') }} then cast({{ excel_day(value) }} as {{ dbt.type_string() }})
        {%- else %}
        {%- set tokens = tokens_of_moment(format) %}
        when {{ matches(lowered, '^' ~ tokens | map(attribute='pattern') | join ~ '$') }} then {{ iso_8601_of(lowered, tokens) }}
        {%- endif %}
        {%- endfor %}
    end
{%- endmacro %}


{#- timestamp from the number by which Excel stores a date; null outside of the years 1900 to 9999. -#}
{% macro excel_day(value) -%}
    {%- set days = 'cast(' ~ value ~ ' as numeric(38, 18))' -%}
    {%- set milliseconds = 'cast(round((' ~ days ~ ' - 25569) * 86400000) as bigint)' -%}
    case when {{ days }} >= 61 and {{ days }} < 2958466 then {{ microseconds_after_1970(milliseconds ~ ' * 1000') }} end
{%- endmacro %}


{#-
    The tokens of a format in their order, as {name, pattern, group, start, width}: `group` counts the parentheses of the whole pattern;
    `start` is the place of the token's first character, and `width` how many it has, or both are none where that depends on the value.
-#}
{% macro tokens_of_moment(format) %}
    {%- set patterns = {
        'YYYY': '([0-9]{4})', 'YY': '([0-9]{2})',
        'MM': '(0[1-9]|1[0-2])', 'M': '(0?[1-9]|1[0-2])',
        'Mon': '(jan|january|feb|february|mar|march|apr|april|may|june?|july?|aug|august|sept?|september|oct|october|nov|november'
            ~ '|dec|december)[.]?',
        'DD': '(0[1-9]|[12][0-9]|3[01])', 'D': '(0?[1-9]|[12][0-9]|3[01])', 'Ddd': '([a-z]{2,9})[.]?',
        'HH': '([01][0-9]|2[0-3])', 'H': '([01]?[0-9]|2[0-3])', 'hh': '(0[1-9]|1[0-2])', 'h': '(0?[1-9]|1[0-2])',
        'mm': '([0-5][0-9])', 'ss': '([0-5][0-9])', 'f': '([0-9]{1,9})', 'AM': '([ap])[.]?m[.]?',
        'Z': '(z|utc|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?|gmt([+-](0?[0-9]|1[0-4])(:[0-5][0-9])?)?)',
    } -%}
    {%- set widths = {'YYYY': 4, 'YY': 2, 'MM': 2, 'DD': 2, 'HH': 2, 'hh': 2, 'mm': 2, 'ss': 2} -%}
    {%- set tokens, groups = [], namespace(count=0, start=1) -%}
    {%- for name in modules.re.findall('YYYY|YY|Mon|MM|M|Ddd|DD|D|HH|H|hh|h|mm|ss|f|AM|Z|.', format) -%}
        {%- set pattern = patterns.get(name) or modules.re.sub('([.^$*+?(){}|])', '[\\1]', name.lower()) -%}
        {%- set width = widths.get(name, none if name in patterns else 1) -%}
        {%- do tokens.append({
            'name': name, 'pattern': pattern, 'group': groups.count + 1, 'start': groups.start if width else none, 'width': width
        }) -%}
        {%- set groups.start = groups.start + width if groups.start and width else none -%}
        {%- set groups.count = groups.count + (pattern.count('(') if name in patterns else 0) -%}
    {%- endfor -%}
    {{ return(tokens) }}
{% endmacro %}


{#- The text of a moment in ISO 8601, from text that has the tokens of a format. -#}
{% macro iso_8601_of(value, tokens) -%}
    {%- set pattern = '^' ~ tokens | map(attribute='pattern') | join ~ '$' -%}
    {%- set found = {} -%}
    {%- for token in tokens -%}
        {%- if token.start -%}
            {%- do found.update({token.name: 'substr(' ~ value ~ ', ' ~ token.start ~ ', ' ~ token.width ~ ')'}) -%}
        {%- else -%}
            {%- do found.update({token.name: regex_group(value, pattern, token.group)}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set hour = found.HH or found.H or found.hh or found.h -%}
    {% if found.YYYY %}{{ found.YYYY }}{% else -%}
    case when {{ found.YY }} < '69' then '20' else '19' end || {{ found.YY }}
    {%- endif %}
    || '-' || {% if found.Mon -%}
    case left({{ found.Mon }}, 3)
        {%- for month in 'jan feb mar apr may jun jul aug sep oct nov dec'.split() %}
        when '{{ month }}' then '{{ '%02d' % loop.index }}'
        {%- endfor %}
    end
    {%- else %}lpad({{ found.MM or found.M }}, 2, '0'){% endif %}
    || '-' || lpad({{ found.DD or found.D }}, 2, '0')
    {%- if hour %}
    || ' ' || {% if found.AM -%}
    lpad(
        cast(cast({{ hour }} as integer) % 12 + case {{ found.AM }} when 'p' then 12 else 0 end as {{ dbt.type_string() }}), 2, '0'
    )
    {%- else %}lpad({{ hour }}, 2, '0'){% endif %}
    || ':' || {{ found.mm or "'00'" }} || ':' || {{ found.ss or "'00'" }}
    {%- if found.f %} || '.' || {{ found.f }}{% endif %}
    {%- if found.Z %} || {{ offset_in_iso_8601(found.Z) }}{% endif %}
    {%- endif %}
{%- endmacro %}


{#- An offset as ISO 8601 has it: gmt is Z, gmt+2 is +02, and all others are as they are. -#}
{% macro offset_in_iso_8601(value) -%}
    case
        when {{ value }} = 'gmt' then 'Z'
        when {{ matches(value, '^gmt[+-][0-9](:|$)') }} then substr({{ value }}, 4, 1) || '0' || substr({{ value }}, 5)
        else replace(upper({{ value }}), 'GMT', '')
    end
{%- endmacro %}


{#- What the nth parentheses of a pattern hold, in text that matches the pattern. -#}
{% macro regex_group(value, pattern, number) -%}
    {{ return(adapter.dispatch('regex_group', 'granary')(value, pattern, number)) }}
{%- endmacro %}

{# Other engines have regexp_extract. #}
{% macro default__regex_group(value, pattern, number) -%}
    (regexp_match({{ value }}, '{{ pattern }}'))[{{ number }}]
{%- endmacro %}
