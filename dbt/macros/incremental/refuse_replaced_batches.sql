{#-
    Stops a run in which the tables still count a batch that was replaced since (bin/ingest --replace): what such a batch
    brought is spread over tables that only look at new batches, so they must be rebuilt once.

    A table counts it still if one of its watermarks (`_batch_id`, `_merges_batch_id` ...) names it, or, in the case of the
    rejections, if it does not list its rows as replaced.
-#}
{% macro refuse_replaced_batches() %}
    {%- if execute and flags.WHICH in ('run', 'build') and not flags.FULL_REFRESH -%}
        {%- set replaced = "select batch_id, replaced_by_batch_id from raw._batches where status = 'replaced' and rows_loaded > 0" -%}
        {%- set incremental_models = graph.nodes.values()
            | selectattr('resource_type', 'equalto', 'model') | selectattr('config.materialized', 'equalto', 'incremental') -%}
        {%- for model in (incremental_models if run_query(replaced ~ " limit 1").rows else []) -%}
            {%- set relation = adapter.get_relation(model.database, model.schema, model.alias) -%}
            {%- if relation is not none -%}
                {%- set named = [] -%}
                {%- for column in model.columns if modules.re.match('_(.+_)?batch_id$', column) -%}
                    {%- do named.append("select " ~ column ~ " from " ~ relation) -%}
                {%- endfor -%}
                {%- set counts_it_still =
                    " and batch_id not in (select _batch_id from " ~ relation ~ " where reason = '" ~ reason_replaced() ~ "')"
                    if 'reason' in model.columns
                    else " and batch_id in (" ~ named | join(" union all ") ~ ")" -%}
                {%- set stale = run_query(replaced ~ counts_it_still ~ " order by batch_id limit 1").rows -%}
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
