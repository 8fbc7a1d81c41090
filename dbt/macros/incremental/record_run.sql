{#-
    Remembers what a run has built where an engine can't do so in the transaction of each model (see watermark and rules).

    results: dbt's results, as passed to on-run-end
-#}
{% macro record_run(results) %}
    {%- if execute and results and flags.WHICH in ('run', 'build') -%}
        {{ adapter.dispatch('record_run', 'granary')(results) }}
    {%- endif -%}
{% endmacro %}

{% macro default__record_run(results) %}
{% endmacro %}
