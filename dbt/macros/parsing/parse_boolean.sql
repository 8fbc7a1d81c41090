{#-
    boolean from cleaned text, in any case: true, t, yes, y, 1 or 1.0; false, f, no, n, 0 or 0.0. Null if it is none of them.

    value: SQL expression of cleaned text
-#}
{% macro parse_boolean(value) -%}
    case
        when lower({{ value }}) in ('true', 't', 'yes', 'y', '1', '1.0') then true
        when lower({{ value }}) in ('false', 'f', 'no', 'n', '0', '0.0') then false
    end
{%- endmacro %}
