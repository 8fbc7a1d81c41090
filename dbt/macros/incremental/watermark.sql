{#-
    A watermark is the batch up to which a model has processed all of its inputs: one row per table in `intermediate._watermarks`.

        model            name of the model
        batch_id         the batch up to which all inputs are processed: the lowest of their watermarks. A view has the
                         watermarks of its own inputs, because it reads whatever is loaded; a seed has no batches
        loaded_batch_id  the newest batch loaded at that time: the table has nothing newer
        loaded_at        when that batch was loaded, which tells it from a batch of another ledger with the same number
        seeds            fingerprint of the seeds that the model reads itself
        build_id         dbt's invocation id of the run that wrote the table last

    Watermarks are always exact:
      - Batches commit in the order of their numbers, and a model reads everything in one snapshot (bin/dbt sets `repeatable
        read`): its own watermark, its inputs, their watermarks and the newest batch.
      - The row is written in the transaction that writes the table. A build that is killed leaves both unchanged, and `dbt retry`
        continues from there.
      - A partial build (--select) may leave one input further ahead than another, so that the model has read rows above its
        watermark. The next build reads them again, which does no harm, because it recomputes everything that depends on them.
      - A table whose declaration is broken is left out of the core's models (see landing_tables). Their watermark stays below its
        first batch that was left out, so a later build reads it.
      - After a full refresh, a dropped table or a `dbt clone` (which creates a view), a model starts from scratch:
        `is_incremental()` is false, and the old row is not read.
      - `--empty`, which processes nothing, is refused: see refuse_unsafe_increments.
-#}
{% macro watermarks() %}
    {{ return(api.Relation.create(
        database=target.get('database'), schema=generate_schema_name('intermediate', none), identifier='_watermarks'
    )) }}
{% endmacro %}


{#- Runs at the start of each run, so that every model finds the table. -#}
{% macro create_watermarks() %}
    {%- if execute and flags.WHICH in ('run', 'build') %}
    {{ adapter.dispatch('create_watermarks', 'granary')() }}
    {%- endif %}
{% endmacro %}

{% macro default__create_watermarks() %}
    create schema if not exists {{ adapter.quote(watermarks().schema) }};
    create table if not exists {{ watermarks() }} (
        model text primary key, batch_id bigint not null, loaded_batch_id bigint not null, loaded_at timestamptz,
        seeds text not null default '', build_id text
    );
    {{ adapter.dispatch('upgrade_watermarks', 'granary')() }}
{% endmacro %}

{# Only PostgreSQL has warehouses of earlier versions. #}
{% macro default__upgrade_watermarks() %}
{% endmacro %}

{# Where the columns are there, nothing waits: a change waits for all readers of the table, and of marts.table_log. #}
{% macro postgres__upgrade_watermarks() %}
    do $$ begin
        if (
            select count(*) < 3 from pg_attribute
            where attrelid = cast('{{ watermarks() }}' as regclass) and attname in ('seeds', 'loaded_at', 'build_id')
        ) then
            alter table {{ watermarks() }}
                add column if not exists seeds text not null default '',
                add column if not exists loaded_at timestamptz,
                add column if not exists build_id text;
        end if;
    end $$
{% endmacro %}


{#-
    The batch up to which this model has processed all of its inputs; 0 if it is built from scratch. It is a number in the SQL,
    because a literal lets the planner see that few rows are new.

    restarts_with_seeds: true if the model computes all of its rows again when a seed that it reads has changed
-#}
{% macro watermark(restarts_with_seeds=false) -%}
    {%- if execute and is_incremental() and load_relation(watermarks()) is not none -%}
        {%- set query -%}
            select batch_id from {{ watermarks() }}
            where
                model = '{{ model.name }}'
                {%- if restarts_with_seeds %}
                and seeds = {{ fingerprint_of_seeds(model) }}
                {%- endif %}
        {%- endset -%}
        {%- set found = run_query(query).rows -%}
        {{ return(found[0][0] | int if found else 0) }}
    {%- endif -%}
    {{ return(0) }}
{%- endmacro %}


{#- The hook that each table runs in its own transaction. -#}
{% macro record_watermark() %}
    {%- if execute and model.config.materialized not in ('view', 'ephemeral') %}
    {{ adapter.dispatch('record_watermark', 'granary')() }}
    {%- endif %}
{% endmacro %}

{% macro default__record_watermark() %}
    insert into {{ watermarks() }} (model, batch_id, loaded_batch_id, loaded_at, seeds, build_id)
    select
        '{{ model.name }}' as model,
        least(
            {%- for input in tables_read_by(model) %}
            coalesce((select batch_id from {{ watermarks() }} where model = '{{ input }}'), 0),
            {%- endfor %}
            {%- if broken_tables() and model.config.group == 'core' %}
            -- What was left out, because its declaration is broken, is read once it is repaired.
            (
                select min(batch_id) - 1 from {{ raw_schema() }}._batches
                where
                    feed || '.' || entity in ('{{ broken_tables() | join("', '") }}')
                    and batch_id > {{ watermark() }}
            ),
            {%- endif %}
            loaded.batch_id
        ) as batch_id,
        loaded.batch_id as loaded_batch_id,
        newest.finished_at as loaded_at,
        {{ fingerprint_of_seeds(model) }} as seeds,
        '{{ invocation_id }}' as build_id
    from (select coalesce(max(batch_id), 0) as batch_id from {{ raw_schema() }}._batches) as loaded
    left join {{ raw_schema() }}._batches as newest on loaded.batch_id = newest.batch_id
    on conflict (model) do update
    set
        batch_id = excluded.batch_id,
        loaded_batch_id = excluded.loaded_batch_id,
        loaded_at = excluded.loaded_at,
        seeds = excluded.seeds,
        build_id = excluded.build_id
{% endmacro %}


{#- Names of the tables that a model reads, directly or through views. -#}
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


{#- A fingerprint of the rows of all seeds that a model reads itself, as an SQL expression. -#}
{% macro fingerprint_of_seeds(model) %}
    {%- set fingerprints = [] -%}
    {%- for id in model.depends_on.nodes if id.startswith('seed.') -%}
        {%- set seed = graph.nodes[id] -%}
        {%- do fingerprints.append(fingerprint_of(api.Relation.create(
            database=seed.database, schema=seed.schema, identifier=seed.alias
        ))) -%}
    {%- endfor -%}
    {{ return(fingerprints | join(" || ") or "''") }}
{% endmacro %}


{% macro fingerprint_of(relation) %}
    {{ return(adapter.dispatch('fingerprint_of', 'granary')(relation)) }}
{% endmacro %}

{# A whole row as text is specific to PostgreSQL. #}
{% macro default__fingerprint_of(relation) -%}
    {%- set row = 'cast(seed as text)' -%}
    (select md5(coalesce(string_agg({{ row }}, '' order by {{ row }} collate "C"), '')) from {{ relation }} as seed)
{%- endmacro %}
