{#-
    A number in a declared spelling as text that parse_amount, parse_price, parse_number and parse_integer read; null if it is not in
    that spelling. Its sign, and what is around the digits, stay as they are.

    Groups of three digits may be separated by a point or a comma (the one that isn't the decimal mark), by a space of any width, or by
    an apostrophe, all of them alike. No group of thousands follows a 0: 0.250 is in none where the decimal mark is a comma.

    value: SQL expression of cleaned text
    decimal: the decimal mark: `.`, `,`, or `any`: then each value has to tell by itself. 1.044,90 and 95,00 do, and so do 1 044,9,
        0,125 and 1.234.567; 1,234 doesn't, which is a thousand for some and little more than one for others
-#}
{% macro plain_number(value, decimal) -%}
    {%- set spaces = " '’" ~ narrow_spaces() -%}
    {%- set points, commas = number_pattern('.', ',', spaces, decimal == 'any'), number_pattern(',', '.', spaces, decimal == 'any') -%}
    case
        when not {{ matches(value, '[0-9]') }} then null
        {%- if decimal in ('.', 'any') %}
        when {{ matches(value, points) }} then {{ without_characters(value, spaces ~ ',') }}
        {%- endif %}
        {%- if decimal in (',', 'any') %}
        when {{ matches(value, commas) }} then replace({{ without_characters(value, spaces ~ '.') }}, ',', '.')
        {%- endif %}
    end
{%- endmacro %}


{#-
    An amount that is counted in the hundredth part of a currency's unit (cents), or another power of ten, as text in units: 1250 is
    12.50. Null if it is not a whole number.

    value: SQL expression of cleaned text
    digits: decimals of the unit: 2 for cents; or `currency`, if they depend on the currency
    currency: SQL expression of the ISO 4217 code of the currency
-#}
{% macro from_minor_units(value, digits, currency) -%}
    {%- if digits == 'currency' -%}
    {#- As ISO 4217 has them; all others have two. -#}
    case
        when {{ currency }} in (
            'BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'
        )
            then case when {{ matches(value, '^-?[0-9]{1,18}$') }} then {{ value }} end
        when {{ currency }} in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then {{ from_minor_units(value, 3) }}
        else {{ from_minor_units(value, 2) }}
    end
    {%- else -%}
    {%- set text, zeros = dbt.type_string(), '0' * (digits + 1) -%}
    {%- set number = "replace(" ~ value ~ ", '-', '')" -%}
    {%- set padded = "case when length(" ~ number ~ ") <= " ~ digits ~ " then right('" ~ zeros ~ "' || " ~ number ~ ', '
        ~ (digits + 1) ~ ') else ' ~ number ~ ' end' -%}
    case
        when {{ matches(value, '^-?[0-9]{1,18}$') }}
            then
                case when {{ value }} like '-%' then '-' else '' end
                || left({{ padded }}, length({{ padded }}) - {{ digits }}) || '.' || right({{ padded }}, {{ digits }})
    end
{%- endif -%}
{%- endmacro %}


{#-
    A pattern for numbers with a decimal mark.

    mark, other: the decimal mark, and the one that separates groups of digits
    spaces: characters that do so, too
    by_itself: whether a number has to tell that this is its decimal mark
-#}
{% macro number_pattern(mark, other, spaces, by_itself) -%}
    {%- set fraction = '[' ~ mark ~ '][0-9]+' -%}
    {%- set groups = [] -%}
    {%- for separator in [other] + spaces | list -%}
        {%- do groups.append('([' ~ separator | replace("'", '\\x27') ~ '][0-9]{3})+') -%}
    {%- endfor -%}
    {%- set grouped = '[1-9][0-9]{0,2}(' ~ groups | join('|') ~ ')' -%}
    {%- if by_itself -%}
        {#- One group after 1 to 3 digits may as well be a fraction of three digits, unless it begins with 0. -#}
        {%- set spaced = '[1-9][0-9]{0,2}(' ~ groups[1:] | join('|') ~ ')(' ~ fraction ~ ')?' -%}
        {%- set digits = ['[0-9]+', '[0-9]*[' ~ mark ~ ']([0-9]{1,2}|[0-9]{4,})', '0?[' ~ mark ~ '][0-9]{3}', '[0-9]{4,}' ~ fraction,
            grouped ~ fraction, '[1-9][0-9]{0,2}([' ~ other ~ '][0-9]{3}){2,}', spaced] | join('|') -%}
    {%- else -%}
        {%- set digits = '([0-9]+|' ~ grouped ~ ')(' ~ fraction ~ ')?|' ~ fraction -%}
    {%- endif -%}
    ^[^0-9.,]*({{ digits }})[^0-9.,]*$
{%- endmacro %}


{#- The spaces that separate groups of digits, besides that of ASCII: no-break, thin, narrow no-break. -#}
{% macro narrow_spaces() -%}
    {{ return('\u00a0\u2009\u202f') }}
{%- endmacro %}


{#- Text without some characters. -#}
{% macro without_characters(value, characters) -%}
    translate({{ value }}, '{{ dbt.escape_single_quotes(characters) }}', '')
{%- endmacro %}
