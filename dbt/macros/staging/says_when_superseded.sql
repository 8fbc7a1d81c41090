{#-
    True if a model of all versions also says which batch superseded each of them, in `superseded_by_batch_id`: then new batches
    lead to the older ones whose rows they superseded.

    model: name of the model
-#}
{% macro says_when_superseded(model) %}
    {{ return(holds_all_versions(model) and 'superseded_by_batch_id' in graph.nodes['model.granary.' ~ model].columns) }}
{% endmacro %}
