{#-
    Prints which sources stand for brands of which none is there, if the test of that failed: dbt itself would only print their
    number.

    results: dbt's results, as passed to on-run-end
-#}
{% macro print_sources_without_brands(results) %}
    {%- for result in results if execute and result.node.name == 'each_source_of_brands_has_one' and result.status == 'fail' -%}
        {%- for finding in run_query(result.node.compiled_code).columns['finding'].values() -%}
            {{ print(printable('error: ' ~ finding)) }}
        {%- endfor -%}
    {%- endfor -%}
{% endmacro %}
