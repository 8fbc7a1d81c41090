{#-
    timestamp in UTC (without a zone) from cleaned text with the seconds since 1970; null if it is not such a number. It has 9 to
    11 digits, or 9 or 10 after a minus, and so the same range as parse_epoch_ms. A fraction is cut off after microseconds.

    value: SQL expression of cleaned text
-#}
{% macro parse_epoch_s(value) -%}
    {{ parse_epoch(value, '([0-9]{9,11}|-[0-9]{9,10})', 1000000) }}
{%- endmacro %}
