{#-
    The declaration of a landing table in its source's YAML: dbt's node, with `columns` and `config.meta`. dbt has it when it
    compiles, not when it parses.

    feed, entity: names of the source and its table
-#}
{% macro declared_table(feed, entity) %}
    {{ return(graph.sources.values()
        | selectattr('source_name', 'equalto', feed) | selectattr('name', 'equalto', entity) | first) }}
{% endmacro %}
