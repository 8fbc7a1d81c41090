{#-
    boolean from cleaned text, in any case: true, t, yes, y or 1; false, f, no, n or 0. Null if it is none of them.

    value: SQL expression of cleaned text
-#}
{% macro parse_boolean(value) -%}
    case
        when lower({{ value }}) in ('true', 't', 'yes', 'y', '1') then true
        when lower({{ value }}) in ('false', 'f', 'no', 'n', '0') then false
    end
{%- endmacro %}
