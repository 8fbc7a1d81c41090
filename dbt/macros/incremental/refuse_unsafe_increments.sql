{#-
    Stops a run that would leave a table wrong:
      - `--empty` would leave it without rows, but looking complete;
      - its model is incremental without a unique_key, so each build would add its rows again;
      - it has no watermark, because an earlier version of the project built it;
      - it was built from another ledger, because raw was reset or restored since: the numbers of its batches mean other files now;
      - it includes a batch that has since been replaced (bin/ingest --replace). Incremental tables only look at new batches, so
        they must be rebuilt once to get rid of the replaced rows.
-#}
{% macro refuse_unsafe_increments() %}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {%- if flags.EMPTY -%}
            {{ exceptions.raise_compiler_error(
                "--empty is not supported, because it would leave views without rows. To try out models, build a separate copy:"
                ~ " GRANARY_SCHEMA_PREFIX=try_ bin/dbt build"
            ) }}
        {%- endif -%}
        {%- set incremental_models = {} -%}
        {%- for model in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
                if model.config.materialized == 'incremental' -%}
            {%- if not model.config.unique_key -%}
                {{ exceptions.raise_compiler_error(
                    model.original_file_path ~ ": an incremental model without unique_key would add its rows again with each"
                    ~ " build: set unique_key to the columns of its grain, or remove `materialized` to make it a table"
                ) }}
            {%- endif -%}
            {%- set relation = adapter.get_relation(model.database, model.schema, model.alias) -%}
            {%- if relation is not none and relation.is_table -%}
                {%- do incremental_models.update({model.name: model}) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if incremental_models -%}
            {%- for row in run_query(models_of_another_ledger()).rows if row.model in incremental_models
                    and not (flags.FULL_REFRESH and incremental_models[row.model].unique_id in selected_resources) -%}
                {{ exceptions.raise_compiler_error(
                    row.model ~ " was built from batch " ~ row.loaded_batch_id ~ " of another ledger (loaded at " ~ row.loaded_at
                    ~ "): since then, raw was reset or restored, so its tables and the batches don't belong together. Rebuild all"
                    ~ " tables once: bin/dbt build --full-refresh" ~ of_engine()
                ) }}
            {%- endfor -%}
        {%- endif -%}
        {%- if incremental_models and not flags.FULL_REFRESH -%}
            {%- set known = run_query("select model from " ~ watermarks()).columns[0].values() -%}
            {%- for name in incremental_models if name not in known -%}
                {{ exceptions.raise_compiler_error(
                    name ~ " has no watermark, because an earlier version of the project built it."
                    ~ " Rebuild once: bin/dbt build --full-refresh" ~ of_engine()
                ) }}
            {%- endfor -%}
            {%- set replaced -%}
                select
                    watermarks.model,
                    batches.feed,
                    batches.entity,
                    batches.batch_id,
                    batches.replaced_by_batch_id
                from {{ watermarks() }} as watermarks
                inner join {{ raw_schema() }}._batches as batches
                    on
                        watermarks.loaded_batch_id >= batches.batch_id
                        and watermarks.batch_id < batches.replaced_by_batch_id
                where
                    batches.status = 'replaced'
                    and batches.rows_loaded > 0
                order by batches.batch_id
            {%- endset -%}
            {%- set affected = [] -%}
            {%- for batch in run_query(replaced).rows if batch.model in incremental_models
                    and reads_source(incremental_models[batch.model], batch.feed, batch.entity) -%}
                {%- do affected.append(batch) -%}
            {%- endfor -%}
            {%- if affected -%}
                {#- A watermark is the lowest of all inputs, so inputs that did not change must be rebuilt with them. -#}
                {{ exceptions.raise_compiler_error(
                    "Batch " ~ affected[0].batch_id ~ " was replaced by batch " ~ affected[0].replaced_by_batch_id ~ " after "
                    ~ affected[0].model ~ " was built from it. Rebuild once: bin/dbt build --full-refresh" ~ of_engine() ~ "\nor only what was"
                    ~ " built from replaced batches: bin/dbt build --full-refresh" ~ of_engine() ~ " --select +"
                    ~ affected | map(attribute="model") | unique | sort | join("+ +") ~ "+"
                ) }}
            {%- endif -%}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}


{#- The option of a command that names the engine, if it isn't PostgreSQL. -#}
{% macro of_engine() %}
    {{ return('' if target.type == 'postgres' else ' --target ' ~ target.name) }}
{% endmacro %}


{#-
    The models whose newest batch isn't in the ledger, or is another file there. Batches that were removed with their feed don't
    count.
-#}
{% macro models_of_another_ledger() %}
    select
        watermarks.model,
        watermarks.loaded_batch_id,
        date_trunc('second', watermarks.loaded_at) as loaded_at
    from {{ watermarks() }} as watermarks
    left join {{ raw_schema() }}._batches as batches
        on
            watermarks.loaded_batch_id = batches.batch_id
            and watermarks.loaded_at = batches.finished_at
    where
        watermarks.loaded_at is not null
        and batches.batch_id is null
        and watermarks.loaded_batch_id > coalesce(
            ({{ last_removed_batch() }}), 0
        )
    order by watermarks.model
{% endmacro %}


{% macro last_removed_batch() %}
    {{ return(adapter.dispatch('last_removed_batch', 'granary')()) }}
{% endmacro %}

{# pg_sequences has no value while no batch was removed, and where the user may not read it. #}
{% macro postgres__last_removed_batch() -%}
    select last_value from pg_sequences where schemaname = '{{ raw_schema() }}' and sequencename = '_last_removed_batch'
{%- endmacro %}

{% macro default__last_removed_batch() -%}
    select max(last_value) from raw._last_removed_batch
{%- endmacro %}


{#- Whether a model reads a landing table, directly or through other models. -#}
{% macro reads_source(model, feed, entity) %}
    {%- for id in model.depends_on.nodes -%}
        {%- set source = graph.sources.get(id) -%}
        {%- if source and source.source_name == feed and source.name == entity -%}
            {{ return(true) }}
        {%- elif id.startswith('model.') and reads_source(graph.nodes[id], feed, entity) -%}
            {{ return(true) }}
        {%- endif -%}
    {%- endfor -%}
    {{ return(false) }}
{% endmacro %}
