{#-
    Text that sorts by code points, because a tie-break must not depend on the collation of the server.

    value: SQL expression of text
-#}
{% macro binary_order(value) -%}
    {{ return(adapter.dispatch('binary_order', 'granary')(value)) }}
{%- endmacro %}

{% macro default__binary_order(value) -%}
    {{ value }} collate "C"
{%- endmacro %}
