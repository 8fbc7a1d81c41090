{#-
    What Spark says differently from PostgreSQL. Each macro is described where it is dispatched. Regular expressions are raw
    strings (r'...'), because a backslash begins an escape in others.
-#}

{# Java's regular expressions have another name for whitespace within brackets. #}
{% macro spark__matches(value, pattern) -%}
    {{ value }} rlike r'{{ pattern | replace("[:space:]", "\\s") }}'
{%- endmacro %}

{% macro spark__zoned_to_utc(value, zone) -%}
    cast(to_utc_timestamp(cast({{ value }} as timestamp), {{ zone }}) as timestamp_ntz)
{%- endmacro %}

{% macro spark__utc_to_zoned(value, zone) -%}
    cast(from_utc_timestamp(cast({{ value }} as timestamp), {{ zone }}) as timestamp_ntz)
{%- endmacro %}

{# There is no list of zones, but a cast knows them. #}
{% macro spark__is_known_zone(value) -%}
    try_cast(concat('2000-01-01 00:00:00 ', {{ value }}) as timestamp_ltz) is not null
{%- endmacro %}

{% macro spark__regex_group(value, pattern, number) -%}
    regexp_extract({{ value }}, '{{ pattern }}', {{ number }})
{%- endmacro %}

{% macro spark__words_joined_by_underscores(value) -%}
    trim(both '_' from regexp_replace({{ value }}, r'[{{ between_words("\\x{%x}") }}]+', '_'))
{%- endmacro %}

{# Java has another letter for a sigma at the end of a word, and two for a dotted capital I. #}
{% macro spark__lower_case(value) -%}
    lower(translate({{ value }}, 'İΣ', 'iσ'))
{%- endmacro %}

{# Escapes are those of JSON, but for the form feed. #}
{% macro spark__trim_whitespace(value) -%}
    trim(both '{{ tojson(outer_characters())[1:-1] | replace("\\f", "\\u000c") }}' from {{ value }})
{%- endmacro %}

{% macro spark__to_number(value) -%}
    try_cast({{ value }} as numeric(38, 18))
{%- endmacro %}

{% macro spark__in_iso_8601(value) -%}
    regexp_replace(replace(translate(upper({{ value }}), ',−', '.-'), 'UTC', 'Z'), r'([.][0-9]{6})[0-9]+', '$1')
{%- endmacro %}

{# Casts want seconds before a zone, no space before it, and a colon within an offset. #}
{% macro spark__to_utc(value) -%}
    {%- set readable = "regexp_replace(" ~ value ~ ", r' ([Z+-])', '$1')" -%}
    {%- set readable = "regexp_replace(" ~ readable ~ ", r'^(.{13}:[0-9]{2})([Z+-].*)?$', '$1:00$2')" -%}
    {%- set readable = "regexp_replace(" ~ readable ~ ", r'(:.*[+-][0-9]{2})([0-9]{2})$', '$1:$2')" -%}
    {%- set converted = "cast(try_cast(" ~ readable ~ " as timestamp_ltz) as timestamp_ntz)" -%}
    case
        when {{ value }} like '0000-%' then null
        when {{ converted }} between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then {{ converted }}
    end
{%- endmacro %}

{# The time zone of the session is UTC. #}
{% macro spark__microseconds_after_1970(value) -%}
    cast(timestamp_micros({{ value }}) as timestamp_ntz)
{%- endmacro %}

{% macro spark__latest_day_at(moment) -%}
    cast({{ moment }} + interval '14' hour as date)
{%- endmacro %}

{# Text sorts by the bytes of UTF-8, which is the order of code points. #}
{% macro spark__binary_order(value) -%}
    {{ value }}
{%- endmacro %}

{% macro spark__days_from(first, last) -%}
    datediff({{ last }}, {{ first }})
{%- endmacro %}

{% macro spark__days_between(first, last) -%}
    select days.day
    from explode(sequence({{ first }}, {{ last }})) as days (day)
{%- endmacro %}

{% macro spark__fingerprint_of(relation) -%}
    (
        select md5(coalesce(array_join(array_sort(collect_list(to_json(struct(seed.*)))), ''), ''))
        from {{ relation }} as seed
    )
{%- endmacro %}

{# A subquery of one row is merged into the whole, but what is expensive isn't computed twice. #}
{% macro spark__one_row() -%}
{%- endmacro %}

{% macro spark__materialized() -%}
{%- endmacro %}

{% macro spark__analyze() -%}
{%- endmacro %}

{# Delta Lake has no subqueries in `delete`. #}
{% macro spark__delete_rows_without(key, relation) -%}
    merge into {{ this }} as known
    using (select {{ key }} from {{ relation }}) as kept
        on known.{{ key }} = kept.{{ key }}
    when not matched by source then delete
{%- endmacro %}

{% macro spark__type_moment() -%}
    timestamp_ltz
{%- endmacro %}

{# dbt's own takes a part that isn't there for an error. #}
{% macro spark__split_part(string_text, delimiter_text, part_number) -%}
    split_part({{ string_text }}, {{ delimiter_text }}, {{ part_number }})
{%- endmacro %}


{# dbt_utils joins all columns with themselves, which loses rows with nulls. #}
{% macro spark__deduplicate(relation, partition_by, order_by) -%}
    select * except (_number_in_group)
    from (
        select
            *,
            row_number() over (partition by {{ partition_by }} order by {{ order_by }}) as _number_in_group
        from {{ relation }}
    )
    where _number_in_group = 1
{%- endmacro %}

{# dbt-spark doesn't escape quotes. #}
{% macro spark__load_csv_rows(model, agate_table) %}
    {%- set types = model.config.column_types -%}
    {%- set rows = [] -%}
    {%- for row in agate_table.rows -%}
        {%- set values = [] -%}
        {%- for name in agate_table.column_names -%}
            {%- set type = types.get(name, adapter.convert_type(agate_table, loop.index0)) -%}
            {%- set value = row[name] -%}
            {%- set text = 'null' if value is none
                else "'" ~ (value | string | replace('\\', '\\\\') | replace("'", "\\'")) ~ "'" -%}
            {%- do values.append('cast(' ~ text ~ ' as ' ~ type ~ ')') -%}
        {%- endfor -%}
        {%- do rows.append('(' ~ values | join(', ') ~ ')') -%}
    {%- endfor -%}
    {%- for chunk in rows | batch(1000) -%}
        {%- do adapter.add_query('insert into ' ~ this ~ ' values ' ~ chunk | join(', '), abridge_sql_log=True) -%}
    {%- endfor -%}
    {{ return('insert into ' ~ this ~ ' values ...') }}
{% endmacro %}


{#- -- The lake -------------------------------------------------------------------------------------------------------- -#}

{% macro spark__exported_tables() %}
    {%- set files = 'binaryFile.`' ~ env_var('GRANARY_LAKE') ~ '/raw/*/*.parquet`' -%}
    {{ return(run_query("select distinct split_part(path, '/', -2) from " ~ files).columns[0].values() | list) }}
{% endmacro %}

{% macro spark__lake_files(folder) -%}
    parquet.`{{ folder }}`
{%- endmacro %}

{# Only the sources that the selected nodes read, because each view takes a moment. #}
{% macro spark__sources_to_attach() %}
    {%- set needed, seen = {}, {} -%}
    {%- for id in selected_resources -%}
        {%- do collect_sources(id, needed, seen) -%}
    {%- endfor -%}
    {{ return(needed.values() | list) }}
{% endmacro %}

{#- Adds the sources that a node reads, directly or not, to `needed`, by their ids; `seen` are the nodes that were looked at. -#}
{% macro collect_sources(id, needed, seen) %}
    {%- if id in graph.sources -%}
        {%- do needed.update({id: graph.sources[id]}) -%}
    {%- elif id in graph.nodes and id not in seen -%}
        {%- do seen.update({id: true}) -%}
        {%- for input in graph.nodes[id].depends_on.nodes -%}
            {%- do collect_sources(input, needed, seen) -%}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}

{# A copy, so that the whole run reads the batches that there were at its start, although it has no transaction. #}
{% macro spark__ledger_of_lake() %}
    {%- if not has_open_tables() -%}
        {%- do run_query('drop table if exists raw._batches') -%}
    {%- endif -%}
    create {{ 'or replace ' if has_open_tables() }}table raw._batches using {{ spark_format() }} as
    select * from {{ lake_files('_batches') }}
{% endmacro %}


{#- -- Tables ---------------------------------------------------------------------------------------------------------- -#}

{#- The format of tables: delta, or parquet where Delta Lake isn't installed (see bin/dbt). -#}
{% macro spark_format() %}
    {{ return(env_var('GRANARY_SPARK_FORMAT', 'delta')) }}
{% endmacro %}

{#- Whether tables can be changed. Those of plain Parquet are always built from scratch, and nothing is remembered of them. -#}
{% macro has_open_tables() %}
    {{ return(spark_format() == 'delta') }}
{% endmacro %}

{# dbt-spark doesn't know the strategy of this project. #}
{% macro dbt_spark_validate_get_incremental_strategy(raw_strategy, file_format) %}
    {%- if raw_strategy != 'delete+insert' -%}
        {{ exceptions.raise_compiler_error(
            model.original_file_path ~ ": the incremental_strategy of this project is delete+insert, not " ~ raw_strategy
        ) }}
    {%- endif -%}
    {{ return(raw_strategy) }}
{% endmacro %}

{#
    Deletes what has a key of the new rows, and inserts these, in one commit: a merge whose source has each key once, to find what
    it deletes, and each new row once, without a key, to be inserted.
#}
{% macro dbt_spark_get_incremental_sql(strategy, source, target, existing, unique_key, incremental_predicates) %}
    {%- set keys = [unique_key] if unique_key is string else unique_key -%}
    {%- set columns = adapter.get_columns_in_relation(target) | map(attribute='quoted') | list %}
    merge into {{ target }} as known
    using (
        select
            false as _is_new,
            {%- for key in keys %}
            {{ key }} as _key_{{ loop.index }},
            {%- endfor %}
            {%- for column in columns %}
            null as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ source }}
        group by {{ keys | join(', ') }}
        union all
        select
            true as _is_new,
            {%- for key in keys %}
            null as _key_{{ loop.index }},
            {%- endfor %}
            {{ columns | join(', ') }}
        from {{ source }}
    ) as delivered
        on
            {%- for key in keys %}
            {{ 'and ' if not loop.first }}known.{{ key }} = delivered._key_{{ loop.index }}
            {%- endfor %}
    when matched then delete
    when not matched and delivered._is_new then insert ({{ columns | join(', ') }})
    values (
        {%- for column in columns -%}
        delivered.{{ column }}{{ ', ' if not loop.last }}
        {%- endfor -%}
    )
{% endmacro %}


{#- A table beside the model that is being built, for what it computes on the way. -#}
{% macro beside(name) %}
    {{ return(this.incorporate(path={'identifier': this.identifier ~ '__' ~ name})) }}
{% endmacro %}


{#- Writes a table, in place of the one before. -#}
{% macro write_table(relation, query) %}
    {%- if has_open_tables() -%}
        {%- do run_query('create or replace table ' ~ relation ~ ' using delta as ' ~ query) -%}
    {%- else -%}
        {%- do run_query('drop table if exists ' ~ relation) -%}
        {%- do run_query('create table ' ~ relation ~ ' using parquet as ' ~ query) -%}
    {%- endif -%}
{% endmacro %}


{#- -- What is remembered of builds ------------------------------------------------------------------------------------- -#}

{#
    Watermarks and rules are written once, when the run has ended: a commit for each model would take longer than small models. A
    run that is killed before leaves tables that are further than their watermarks, so the next one reads their batches again,
    which does no harm.
#}
{% macro spark__create_watermarks() %}
    {%- if has_open_tables() -%}
        {%- do run_query('create schema if not exists ' ~ watermarks().schema) -%}
        {%- do run_query(
            'create table if not exists ' ~ watermarks() ~ ' (model string not null, batch_id bigint not null, loaded_batch_id bigint'
            ~ ' not null, loaded_at timestamp_ltz, seeds string not null, build_id string) using delta'
        ) -%}
    {%- endif -%}
{% endmacro %}

{% macro spark__create_rules() %}
    {%- if has_open_tables() -%}
        {%- do run_query(
            'create table if not exists ' ~ rules() ~ ' (model string not null, landing_table string not null, fingerprint string'
            ~ ' not null) using delta'
        ) -%}
    {%- endif -%}
{% endmacro %}

{% macro spark__record_watermark() %}
{% endmacro %}

{% macro spark__record_rules() %}
{% endmacro %}

{% macro spark__record_run(results) %}
    {%- set built = [] -%}
    {%- for result in results if result.node.resource_type == 'model' and result.status == 'success' -%}
        {%- do built.append(graph.nodes[result.node.unique_id]) -%}
    {%- endfor -%}
    {%- if built and has_open_tables() -%}
        {%- do record_watermarks_of(built) -%}
        {%- do record_rules_of(built) -%}
    {%- endif -%}
{% endmacro %}

{#- Writes the watermarks of models, given in the order in which they were built. -#}
{% macro record_watermarks_of(models) %}
    {%- set newest = run_query(
        'select batch_id, finished_at from raw._batches order by batch_id desc limit 1'
    ).rows -%}
    {%- set loaded = newest[0][0] if newest else 0 -%}
    {%- set known = {} -%}
    {%- for row in run_query('select model, batch_id from ' ~ watermarks()).rows -%}
        {%- do known.update({row[0]: row[1]}) -%}
    {%- endfor -%}
    {%- set rows = [] -%}
    {%- for model in models if model.config.materialized not in ('view', 'ephemeral') -%}
        {%- set inputs = [loaded] -%}
        {%- for input in tables_read_by(model) -%}
            {%- do inputs.append(known.get(input, 0)) -%}
        {%- endfor -%}
        {%- do known.update({model.name: inputs | min}) -%}
        {%- do rows.append(
            "select '" ~ model.name ~ "' as model, cast(" ~ inputs | min ~ " as bigint) as batch_id, " ~ fingerprint_of_seeds(model)
            ~ " as seeds"
        ) -%}
    {%- endfor -%}
    {%- if rows %}
        {%- do run_query(
            'merge into ' ~ watermarks() ~ ' as known using (select built.*, cast(' ~ loaded ~ " as bigint) as loaded_batch_id,"
            ~ ' (select finished_at from raw._batches where batch_id = ' ~ loaded ~ ") as loaded_at, '" ~ invocation_id
            ~ "' as build_id from (" ~ rows | join(' union all ') ~ ') as built) as built on known.model = built.model'
            ~ ' when matched then update set * when not matched then insert *'
        ) -%}
    {%- endif -%}
{% endmacro %}

{#- Writes the rules by which the rows of models were read; models are given in the order in which they were built. -#}
{% macro record_rules_of(models) %}
    {%- set known = {} -%}
    {%- for row in run_query('select model, landing_table, fingerprint from ' ~ rules()).rows -%}
        {%- do known.setdefault(row[0], []).append((row[1], row[2])) -%}
    {%- endfor -%}
    {%- for model in models -%}
        {%- set inputs = inputs_of(model) -%}
        {%- set read = [('', '')] -%}
        {%- for source in inputs.sources if source.loader == 'bin/ingest' -%}
            {%- do read.append((source.source_name ~ '.' ~ source.name, fingerprint(source.source_name, source.name))) -%}
        {%- endfor -%}
        {%- for name in inputs.models -%}
            {%- do read.extend(known.get(name, [])) -%}
        {%- endfor -%}
        {%- do known.update({model.name: read | unique | list}) -%}
    {%- endfor -%}
    {%- set rows = [] -%}
    {%- for name, read in known.items() -%}
        {%- for landing_table, found in read -%}
            {%- do rows.append("('" ~ name ~ "', '" ~ landing_table ~ "', '" ~ found ~ "')") -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do run_query(
        'insert overwrite ' ~ rules() ~ ' select * from values ' ~ rows | join(', ') ~ ' as rules (model, landing_table, fingerprint)'
    ) -%}
{% endmacro %}

{#-
    The query of stg_ledger__rejected_values: each feed is a statement, whose result is a table beside the model's, because to plan
    all of them at once takes minutes.
-#}
{% macro spark_rejected_values() %}
    {%- for feed, tables in landing_tables() | groupby('feed') %}
    {%- set rejected -%}
        {%- for table in tables %}
        {{ rejected_values(table.feed, table.entity) }}
        {{ 'union all' if not loop.last }}
        {%- endfor %}
    {%- endset -%}
    {%- set part = beside(feed) -%}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {%- do write_table(part, 'select * from (' ~ rejected ~ ') where _batch_id > ' ~ watermark()) -%}
    {%- endif %}
    select * from {{ part }}
    union all
    {%- endfor %}
{% endmacro %}

{# Contracts name types as PostgreSQL does. #}
{% macro spark__get_empty_schema_sql(columns) %}
    {%- set known = {} -%}
    {%- for name, column in columns.items() -%}
        {%- set type = column.data_type | replace('timestamp with time zone', type_moment()) -%}
        {%- do known.update({name: dict(column, data_type=type)}) -%}
    {%- endfor -%}
    {{ return(dbt.default__get_empty_schema_sql(known)) }}
{% endmacro %}

{# Nothing is enforced: the data tests find what PostgreSQL would refuse. #}
{% macro spark__persist_constraints(relation, model) %}
{% endmacro %}
