{#- A hook that has the engine count the rows of {{ this }}, for the plans of the models that read it. -#}
{% macro analyze() -%}
    {{ return(adapter.dispatch('analyze', 'granary')()) }}
{%- endmacro %}

{% macro default__analyze() -%}
    analyze {{ this }}
{%- endmacro %}
