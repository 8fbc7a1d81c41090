{#-
    A number with its minus in front, as casts need it: `5-` and `−5` (with the minus sign of typography, U+2212) are `-5`.

    value: SQL expression of a number as text
-#}
{% macro sign_first(value) -%}
    case when {{ matches(value, '[−-]$') }} then '-' || translate({{ value }}, '−-', '') else replace({{ value }}, '−', '-') end
{%- endmacro %}
