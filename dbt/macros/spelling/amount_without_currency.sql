{#-
    An amount without the sign or code of its currency, which is at its beginning or its end: `£120.00`, `95,00 €`, `-€5`,
    `12.50 EUR`, `($5.00)`. Text without one is returned as it is.

    value: SQL expression of cleaned text
    signs: ISO 4217 codes by the signs that stand for them, such as {'€': 'EUR'}
-#}
{% macro amount_without_currency(value, signs) -%}
    {%- set pattern = money_pattern(signs) -%}
    case
        {#- Most amounts have none, and this check is cheap. #}
        when {{ matches(value, '^[-0-9.,]+$') }} then {{ value }}
        when {{ matches(value, pattern) }}
            then concat({{ regex_group(value, pattern, 1) }}, {{ regex_group(value, pattern, 3) }}, {{ regex_group(value, pattern, 5) }})
        else {{ value }}
    end
{%- endmacro %}


{#- The ISO 4217 code of the currency that the text of an amount names, by a sign or by the code itself; null if it names none. -#}
{% macro currency_in(value, signs) -%}
    {%- set pattern = money_pattern(signs) -%}
    {%- set mark = 'concat(' ~ regex_group(value, pattern, 2) ~ ', ' ~ regex_group(value, pattern, 4) ~ ')' -%}
    case
        when {{ matches(value, '^[-0-9.,]+$') }} then null
        when {{ matches(value, pattern) }}
            then
                case {{ mark }}
                    when '' then null
                    {%- for sign, code in signs.items() %}
                    when '{{ dbt.escape_single_quotes(sign) }}' then '{{ code }}'
                    {%- endfor %}
                    else {{ mark }}
                end
    end
{%- endmacro %}


{#- A pattern for an amount: signs, currency, digits, currency, signs. An amount with two currencies has one that is not known. -#}
{% macro money_pattern(signs) -%}
    {%- set marks = ['[A-Z]{3}'] -%}
    {%- for sign in signs -%}
        {%- do marks.append(modules.re.sub('([.^$*+?(){}|])', '[\\1]', sign)) -%}
    {%- endfor -%}
    {%- set mark, space = '(' ~ marks | join('|') ~ ')?', '[ ' ~ narrow_spaces() ~ ']?' -%}
    ^([(+−-]*){{ space }}{{ mark }}{{ space }}([+−-]?[0-9.,](?:.*[0-9.,])?){{ space }}{{ mark }}([)−-]*)$
{%- endmacro %}
