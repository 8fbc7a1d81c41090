{#-
    The rules of a landing table are what its source declares of its columns and amounts, and the macros that read them. A model is
    built from rows that were read by the rules of that time; incremental models keep such rows. `intermediate._rules` remembers,
    for each model, a fingerprint of the rules of each landing table by which its rows were read:

        model          name of the model
        landing_table  feed and entity: <feed>.<entity>
        fingerprint    hash of the SQL that reads the landing table and its amounts

    A view on a landing table has the fingerprint of the rules with which it was created, and every other model those of its inputs.
    Each model also has a row without a landing table, so a model without any was built before there were fingerprints.
    refuse_changed_rules compares them with the rules of today.
-#}
{% macro rules() %}
    {{ return(api.Relation.create(
        database=target.get('database'), schema=generate_schema_name('intermediate', none), identifier='_rules'
    )) }}
{% endmacro %}


{#- Runs at the start of each run, so that every model finds the table. -#}
{% macro create_rules() %}
    {%- if execute and flags.WHICH in ('run', 'build') %}
    {{ adapter.dispatch('create_rules', 'granary')() }}
    {%- endif %}
{% endmacro %}

{% macro default__create_rules() %}
    create table if not exists {{ rules() }} (
        model text not null, landing_table text not null, fingerprint text not null,
        primary key (model, landing_table, fingerprint)
    )
{% endmacro %}


{#-
    The fingerprint of a landing table's rules of today. Whitespace doesn't count, and neither does the name of the database, which
    changes when a warehouse is copied or restored.
-#}
{% macro fingerprint(feed, entity) %}
    {%- set queries = [safe_rows(feed, entity)] -%}
    {#- Sums of amounts are kept as well, each by its SQL of that time. -#}
    {%- for amount in declared_table(feed, entity).config.meta.amounts or [] -%}
        {%- do queries.extend(
            [amount.measure, declared_sql(amount.delivered, 'delivered'), declared_sql(amount.staged, 'staged')]
        ) -%}
    {%- endfor -%}
    {%- set sql = queries | join(' ') | replace(adapter.quote(target.get('database') or '') ~ '.', '') -%}
    {{ return(local_md5(sql.split() | join(' '))) }}
{% endmacro %}


{#- The hook that each model runs in its own transaction. -#}
{% macro record_rules() %}
    {%- if execute and model.config.materialized != 'ephemeral' %}
    {{ adapter.dispatch('record_rules', 'granary')() }}
    {%- endif %}
{% endmacro %}

{% macro default__record_rules() %}
    {%- set inputs = inputs_of(model) %}
    delete from {{ rules() }} where model = '{{ model.name }}';
    insert into {{ rules() }} (model, landing_table, fingerprint)
    select '{{ model.name }}' as model, '' as landing_table, '' as fingerprint
    union
    {%- for source in inputs.sources if source.loader == 'bin/ingest' %}
    select
        '{{ model.name }}' as model,
        '{{ source.source_name }}.{{ source.name }}' as landing_table,
        '{{ fingerprint(source.source_name, source.name) }}' as fingerprint
    union
    {%- endfor %}
    select distinct
        '{{ model.name }}' as model,
        landing_table,
        fingerprint
    from {{ rules() }}
    where model in ({% for name in inputs.models %}'{{ name }}', {% endfor %}'')
{% endmacro %}


{#- The sources and the names of the models that a model reads, directly or through ephemeral models. -#}
{% macro inputs_of(model) %}
    {%- set inputs = {'sources': [], 'models': []} -%}
    {%- for id in model.depends_on.nodes -%}
        {%- if id in graph.sources -%}
            {%- do inputs.sources.append(graph.sources[id]) -%}
        {%- elif id.startswith('model.') and graph.nodes[id].config.materialized == 'ephemeral' -%}
            {%- set further = inputs_of(graph.nodes[id]) -%}
            {%- do inputs.sources.extend(further.sources) -%}
            {%- do inputs.models.extend(further.models) -%}
        {%- elif id.startswith('model.') -%}
            {%- do inputs.models.append(graph.nodes[id].name) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(inputs) }}
{% endmacro %}


{#-
    Stops a run whose incremental models keep rows that were read by other rules than those of today, and says which batches have to
    be read again, and how.
-#}
{% macro refuse_changed_rules() %}
    {%- if execute and flags.WHICH in ('run', 'build') and not flags.FULL_REFRESH -%}
        {%- set today = {} -%}
        {%- for table in landing_tables() -%}
            {%- do today.update({table.feed ~ '.' ~ table.entity: fingerprint(table.feed, table.entity)}) -%}
        {%- endfor -%}
        {%- set recorded = run_query("select model, landing_table, fingerprint from " ~ rules() ~ " order by 1, 2") -%}
        {%- set known = recorded.columns[0].values() -%}
        {%- for model in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
                if model.config.materialized == 'incremental' and model.unique_id in selected_resources and model.name not in known -%}
            {%- set relation = adapter.get_relation(model.database, model.schema, model.alias) -%}
            {%- if relation is not none and relation.is_table -%}
                {{ exceptions.raise_compiler_error(
                    model.name ~ " was built by an earlier version of the project, perhaps by other rules than those of today."
                    ~ " Rebuild once: bin/dbt build --full-refresh" ~ of_engine()
                ) }}
            {%- endif -%}
        {%- endfor -%}
        {%- set changed, models = [], [] -%}
        {%- for row in recorded.rows
                if today.get(row.landing_table, row.fingerprint) != row.fingerprint -%}
            {%- set model = graph.nodes.get('model.granary.' ~ row.model) -%}
            {%- if model and model.config.materialized == 'incremental' and model.unique_id in selected_resources
                    and adapter.get_relation(model.database, model.schema, model.alias) is not none -%}
                {%- do changed.append(row.landing_table) -%}
                {%- do models.append(row.model) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if changed -%}
            {%- set tables = changed | unique | sort -%}
            {%- set batches = run_query(
                "select count(*), sum(rows_loaded), min(batch_id), max(batch_id) from " ~ raw_schema() ~ "._batches"
                ~ " where status = 'loaded' and rows_loaded > 0 and feed || '.' || entity in ('" ~ tables | join("', '") ~ "')"
            ).rows[0] -%}
            {{ exceptions.raise_compiler_error(
                "The rules by which " ~ tables | join(", ") ~ " is read changed after " ~ models | unique | join(", ")
                ~ " had been built: " ~ batches[0] ~ " batches (" ~ batches[1] ~ " rows, batches " ~ batches[2] ~ " to " ~ batches[3]
                ~ ") have to be read again. Rebuild what reads them, and nothing else: bin/dbt build --full-refresh" ~ of_engine() ~ " --select"
                ~ " source:" ~ tables | join("+ source:") ~ "+"
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}
