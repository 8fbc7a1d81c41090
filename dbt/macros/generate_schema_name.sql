{#-
    Schemas have plain names (staging, intermediate, marts). GRANARY_SCHEMA_PREFIX builds a second copy next to the first, from
    the same raw tables.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%}
        {{ target.schema }}
    {%- else -%}
        {{ env_var('GRANARY_SCHEMA_PREFIX', '') }}{{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}
