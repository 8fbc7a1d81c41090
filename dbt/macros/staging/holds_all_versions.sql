{#-
    True if a model of current versions also holds superseded ones, as shown by its column `is_current`.

    model: name of the model
-#}
{% macro holds_all_versions(model) %}
    {{ return(execute and 'is_current' in graph.nodes['model.granary.' ~ model].columns) }}
{% endmacro %}
