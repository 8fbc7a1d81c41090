{#-
    bigint from cleaned text; null if it is not a whole number that fits, with an optional sign in front or at the end. Decimals
    may be there if they are 0: 12.0 is how pandas writes 12 in a column with gaps.

    value: SQL expression of cleaned text
-#}
{% macro parse_integer(value) -%}
    {%- set digits = '[0-9]{1,19}([.]0{1,18})?' -%}
    cast(
        case
            when {{ matches(value, '^[+-]?[0-9]{1,18}$') }} then {{ value }}
            when {{ matches(value, '^([+−-]?' ~ digits ~ '|' ~ digits ~ '[−-])$') }}
                then
                    case
                        when
                            cast({{ sign_first(value) }} as numeric(38, 18))
                            between -9223372036854775808 and 9223372036854775807
                            then split_part({{ sign_first(value) }}, '.', 1)
                    end
        end as bigint
    )
{%- endmacro %}
