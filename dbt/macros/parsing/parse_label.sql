{#-
    A label in a uniform spelling: lower case, with each run of characters other than letters and digits replaced by one
    underscore, so that `Viewed Product Page` and `VIEWED_PRODUCT_PAGE` agree. Null if no letter or digit is left.

    value: SQL expression of cleaned text
-#}
{% macro parse_label(value) -%}
    nullif({{ words_joined_by_underscores('lower(' ~ value ~ ')') }}, '')
{%- endmacro %}


{% macro words_joined_by_underscores(value) -%}
    {{ return(adapter.dispatch('words_joined_by_underscores', 'granary')(value)) }}
{%- endmacro %}

{# The 'g' flag is specific to PostgreSQL; other engines replace every occurrence by default. #}
{% macro default__words_joined_by_underscores(value) -%}
    btrim(regexp_replace({{ value }}, '[^[:alnum:]]+', '_', 'g'), '_')
{%- endmacro %}
