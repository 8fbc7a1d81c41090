{#-
    The number of names in a list that is text, as the ledger has it: separated by commas, which no name has; null if the list is.

    list: SQL expression of the list
-#}
{% macro names_in(list) -%}
    cast(
        case
            when {{ list }} = '' then 0
            else length({{ list }}) - length(replace({{ list }}, ',', '')) + 1
        end as bigint
    )
{%- endmacro %}
