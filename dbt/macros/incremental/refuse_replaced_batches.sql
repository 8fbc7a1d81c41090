{#-
    Stops a run in which an incremental model still holds rows of a batch that was replaced since (bin/ingest --replace):
    what such a batch brought is spread over tables that only look at new batches, so they must be rebuilt once.
-#}
{% macro refuse_replaced_batches() %}
    {%- if execute and flags.WHICH in ('run', 'build') and not flags.FULL_REFRESH -%}
        {%- set replaced = run_query("select 1 from raw._batches where status = 'replaced' limit 1").rows -%}
        {%- set incremental_models = graph.nodes.values()
            | selectattr('resource_type', 'equalto', 'model') | selectattr('config.materialized', 'equalto', 'incremental') -%}
        {%- for model in incremental_models if replaced and '_row_id' in model.columns and model.name != 'rejected_rows' -%}
            {%- set relation = adapter.get_relation(model.database, model.schema, model.alias) -%}
            {%- if relation is not none -%}
                {%- set stale = run_query(
                    "select batch_id, replaced_by_batch_id from raw._batches where status = 'replaced'"
                    ~ " and batch_id in (select _batch_id from " ~ relation ~ ") order by batch_id limit 1"
                ).rows -%}
                {%- if stale -%}
                    {{ exceptions.raise_compiler_error(
                        "Batch " ~ stale[0][0] ~ " was replaced by batch " ~ stale[0][1] ~ " after " ~ model.name
                        ~ " was built from it. Rebuild once: bin/dbt build --full-refresh"
                    ) }}
                {%- endif -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
