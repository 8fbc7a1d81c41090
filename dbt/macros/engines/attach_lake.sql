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
    {%- do run_query(view_of_lake('_batches')) -%}
    {%- for source in graph.sources.values() if source.schema == 'raw' and source.identifier not in ['_batches', '_builds', '_replayed_values'] -%}
        {%- do run_query(view_of_lake(source.identifier, is_landing_table=source.loader == 'bin/ingest')) -%}
    {%- endfor -%}
    {%- do run_query(view_of_lake('_last_removed_batch')) -%}
    {%- do run_query(own_ledger()) -%}
{% endmacro %}


{#- The names of the tables that the lake has. -#}
{% macro exported_tables() %}
    {{ return(adapter.dispatch('exported_tables', 'granary')()) }}
{% endmacro %}

{% macro default__exported_tables() %}
    {{ return([]) }}
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
    create table if not exists raw._builds (
        build_id {{ dbt.type_string() }} not null, schema_prefix {{ dbt.type_string() }} not null,
        command {{ dbt.type_string() }} not null, selection {{ dbt.type_string() }}, is_full_refresh boolean not null,
        status {{ dbt.type_string() }} not null, models_built bigint not null, tests_passed bigint not null,
        tests_warned bigint not null, tests_failed bigint not null, errors bigint not null, started_at timestamptz not null,
        finished_at timestamptz not null default get_current_timestamp()
    );
    create table if not exists raw._replayed_values (
        rejection_id {{ dbt.type_string() }} primary key, feed {{ dbt.type_string() }} not null,
        entity {{ dbt.type_string() }} not null, severity {{ dbt.type_string() }} not null, column_name {{ dbt.type_string() }},
        delivered_value {{ dbt.type_string() }}, reason {{ dbt.type_string() }} not null,
        explanation {{ dbt.type_string() }} not null, file_path {{ dbt.type_string() }} not null, line_number bigint not null,
        batch_id bigint not null, row_id bigint not null, replayed_at timestamptz not null default get_current_timestamp()
    );
    insert into raw._replayed_values select * from {{ lake_files('_replayed_values') }} on conflict do nothing
{% endmacro %}
