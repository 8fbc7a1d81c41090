{#- The schema that models and builds have for raw. Only copies (bin/copy) have another one, with raw as it was known at a time. -#}
{% macro raw_schema() -%}
    {{ return(env_var('GRANARY_RAW_SCHEMA', '') or 'raw') }}
{%- endmacro %}
