{#-
    Watermarks: up to which batch a model has taken in all of its inputs, one row per table in `intermediate._watermarks`.

        model            name of the model
        batch_id         all inputs are taken in up to this batch: the lowest watermark among them. A view reads whatever is
                         loaded, so it has the inputs' own; a seed has no batches
        loaded_batch_id  the newest batch that was loaded then: nothing newer is in the table

    They are exact, and stay so:
      - Batches commit in the order of their numbers, and a model reads everything in one snapshot (bin/dbt asks for
        `repeatable read`): its own watermark, its inputs, theirs, and the newest batch.
      - The row is written in the transaction that writes the table. A build that is killed leaves both as they were, and
        `dbt retry` goes on from there.
      - A partial build (--select) may bring one input further than another. The model has then seen rows above its
        watermark: the next build looks at them again, which changes nothing, because what depends on them is computed anew.
      - A full refresh, or a table that was dropped, starts from nothing: `is_incremental()` is false, and the old row is not
        read. So does a `dbt clone`, which makes a view.
      - `--empty`, which takes nothing in, is refused: see refuse_unsafe_increments.
-#}
{% macro watermarks() %}
    {{ return(api.Relation.create(
        database=target.database, schema=generate_schema_name('intermediate', none), identifier='_watermarks'
    )) }}
{% endmacro %}


{#- On the start of a run: the table is there. -#}
{% macro create_watermarks() %}
    {%- if execute and flags.WHICH in ('run', 'build') %}
    create schema if not exists {{ adapter.quote(watermarks().schema) }};
    create table if not exists {{ watermarks() }} (
        model text primary key, batch_id bigint not null, loaded_batch_id bigint not null
    )
    {%- endif %}
{% endmacro %}


{#-
    The batch up to which this model has taken in all of its inputs, as a number in the SQL (a literal lets the planner see
    that few rows are new); 0 where it is built from nothing.
-#}
{% macro watermark() -%}
    {%- if execute and is_incremental() and load_relation(watermarks()) is not none -%}
        {%- set found = run_query("select batch_id from " ~ watermarks() ~ " where model = '" ~ model.name ~ "'").rows -%}
        {{ return(found[0][0] | int if found else 0) }}
    {%- endif -%}
    {{ return(0) }}
{%- endmacro %}


{#- The hook of each table, in its transaction. -#}
{% macro record_watermark() %}
    {%- if execute and model.config.materialized not in ('view', 'ephemeral') %}
    insert into {{ watermarks() }} (model, batch_id, loaded_batch_id)
    select
        '{{ model.name }}' as model,
        least(
            {%- for input in tables_read_by(model) %}
            coalesce((select batch_id from {{ watermarks() }} where model = '{{ input }}'), 0),
            {%- endfor %}
            loaded.batch_id
        ) as batch_id,
        loaded.batch_id as loaded_batch_id
    from (select coalesce(max(batch_id), 0) as batch_id from raw._batches) as loaded
    on conflict (model) do update
    set batch_id = excluded.batch_id, loaded_batch_id = excluded.loaded_batch_id
    {%- endif %}
{% endmacro %}


{#- Names of the tables that a model reads, itself or through views. -#}
{% macro tables_read_by(model) %}
    {%- set tables = [] -%}
    {%- for id in model.depends_on.nodes if id.startswith('model.') -%}
        {%- set input = graph.nodes[id] -%}
        {%- do tables.extend(
            tables_read_by(input) if input.config.materialized in ('view', 'ephemeral') else [input.name]
        ) -%}
    {%- endfor -%}
    {{ return(tables | unique | list) }}
{% endmacro %}
