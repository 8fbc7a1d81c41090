{#-
    Lets an engine other than PostgreSQL read what was delivered, at the start of each run: `raw.<table>` is a view of the Parquet
    files of each source that bin/lake has exported, and of the batches that the ledger there names. What a build itself writes to
    raw are tables of the engine.
-#}
{% macro attach_lake() %}
    {%- if execute -%}
        {{ return(adapter.dispatch('attach_lake', 'granary')()) }}
    {%- endif -%}
{% endmacro %}

{# PostgreSQL has the raw tables themselves. #}
{% macro postgres__attach_lake() %}
{% endmacro %}

{% macro default__attach_lake() %}
    {%- set missing = [] -%}
    {%- set exported = exported_tables() -%}
    {%- for source in graph.sources.values() if source.schema == 'raw' and source.identifier not in exported + ['_builds'] -%}
        {%- do missing.append(source.identifier) -%}
    {%- endfor -%}
    {%- if missing -%}
        {{ exceptions.raise_compiler_error(
            "the lake " ~ env_var('GRANARY_LAKE') ~ " doesn't have raw." ~ missing | sort | join(", raw.")
            ~ ": load and export what was delivered first: bin/ingest && bin/lake"
        ) }}
    {%- endif -%}
    {%- do run_query('create schema if not exists raw') -%}
    {%- do run_query(ledger_of_lake()) -%}
    {%- for source in sources_to_attach() if source.schema == 'raw' and source.identifier not in ['_batches', '_builds', '_replayed_values'] -%}
        {%- do run_query(view_of_lake(source.identifier, is_landing_table=source.loader == 'bin/ingest')) -%}
    {%- endfor -%}
    {%- do run_query(view_of_lake('_last_removed_batch')) -%}
    {%- for statement in own_ledger() -%}
        {%- do run_query(statement) -%}
    {%- endfor -%}
{% endmacro %}


{#- The sources of which a run needs views: all of them, unless an engine takes long to create one. -#}
{% macro sources_to_attach() %}
    {{ return(adapter.dispatch('sources_to_attach', 'granary')()) }}
{% endmacro %}

{% macro default__sources_to_attach() %}
    {{ return(graph.sources.values() | list) }}
{% endmacro %}


{#- The names of the tables that the lake has. -#}
{% macro exported_tables() %}
    {{ return(adapter.dispatch('exported_tables', 'granary')()) }}
{% endmacro %}

{% macro default__exported_tables() %}
    {{ return([]) }}
{% endmacro %}


{#- The statement for raw._batches. -#}
{% macro ledger_of_lake() %}
    {{ return(adapter.dispatch('ledger_of_lake', 'granary')()) }}
{% endmacro %}

{% macro default__ledger_of_lake() %}
    {{ return(view_of_lake('_batches')) }}
{% endmacro %}


{#- The statement for the view of a table in the lake. An export writes the ledger last, so it shows what is complete. -#}
{% macro view_of_lake(table, is_landing_table=false) %}
    create or replace view raw.{{ adapter.quote(table) }} as
    select * from {{ lake_files(table) }}
    {%- if is_landing_table %}
    where _batch_id in (select batch_id from raw._batches)
    {%- endif %}
{% endmacro %}


{#- The Parquet files of a table in the lake, as a relation. -#}
{% macro lake_files(table) %}
    {{ return(adapter.dispatch('lake_files', 'granary')(env_var('GRANARY_LAKE') ~ '/raw/' ~ table)) }}
{% endmacro %}

{% macro default__lake_files(folder) %}
    {{ exceptions.raise_compiler_error(target.type ~ " can't read the lake") }}
{% endmacro %}


{#- The statements for the tables of the ledger that a build writes. What PostgreSQL knows of replayed values is taken over. -#}
{% macro own_ledger() %}
    {%- set text, moment = dbt.type_string(), type_moment() -%}
    {%- set builds -%}
        create table if not exists raw._builds (
            build_id {{ text }} not null, schema_prefix {{ text }} not null, command {{ text }} not null, selection {{ text }},
            is_full_refresh boolean not null, status {{ text }} not null, models_built bigint not null,
            tests_passed bigint not null, tests_warned bigint not null, tests_failed bigint not null, errors bigint not null,
            started_at {{ moment }} not null, finished_at {{ moment }} not null
        )
    {%- endset -%}
    {%- set begun_builds -%}
        create table if not exists raw._begun_builds (
            build_id {{ text }} not null, schema_prefix {{ text }} not null, started_at {{ moment }} not null
        )
    {%- endset -%}
    {%- set replayed_values -%}
        create table if not exists raw._replayed_values (
            rejection_id {{ text }} not null, feed {{ text }} not null, entity {{ text }} not null, severity {{ text }} not null,
            column_name {{ text }}, delivered_value {{ text }}, reason {{ text }} not null, explanation {{ text }} not null,
            file_path {{ text }} not null, line_number bigint not null, batch_id bigint not null, row_id bigint not null,
            replayed_at {{ moment }} not null
        )
    {%- endset -%}
    {%- set known -%}
        insert into raw._replayed_values
        select * from {{ lake_files('_replayed_values') }} as exported
        where exported.rejection_id not in (select rejection_id from raw._replayed_values)
    {%- endset -%}
    {{ return([builds, begun_builds, replayed_values, known]) }}
{% endmacro %}


{#- The type of a moment: a timestamp with time zone. -#}
{% macro type_moment() -%}
    {{ return(adapter.dispatch('type_moment', 'granary')()) }}
{%- endmacro %}

{% macro default__type_moment() -%}
    timestamptz
{%- endmacro %}
