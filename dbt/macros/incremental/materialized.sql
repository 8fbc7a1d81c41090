{#-
    Marks a CTE that is computed once: `rejected as {{ materialized() }} (...)`. Few batches are new, so the planner may expect
    hardly any rows, join them in a nested loop, and parse the new rows again in each round.
-#}
{% macro materialized() -%}
    {{ return(adapter.dispatch('materialized', 'granary')()) }}
{%- endmacro %}

{# The word is specific to PostgreSQL and DuckDB. #}
{% macro default__materialized() -%}
    materialized
{%- endmacro %}
