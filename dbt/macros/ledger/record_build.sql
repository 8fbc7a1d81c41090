{#- Writes that a run or build has begun to raw._begun_builds: without a row of record_build, it is running, or was killed. -#}
{% macro record_begun_build() %}
    {%- set begun = api.Relation.create(database=target.get('database'), schema=raw_schema(), identifier='_begun_builds') -%}
    {%- if execute and flags.WHICH in ('run', 'build') and (target.type != 'postgres' or load_relation(begun) is not none) -%}
        insert into {{ begun }} (build_id, schema_prefix, started_at)
        values (
            '{{ invocation_id }}', '{{ env_var("GRANARY_SCHEMA_PREFIX", "") }}', cast('{{ run_started_at }}' as {{ type_moment() }})
        )
    {%- endif -%}
{% endmacro %}


{#-
    Writes one row about a run or build to raw._builds when it has finished: what it built and how its tests ended. A build that
    was killed has no row.

    results: dbt's results, as passed to on-run-end
-#}
{% macro record_build(results) %}
    {%- set ledger = api.Relation.create(database=target.get('database'), schema=raw_schema(), identifier='_builds') -%}
    {#- Where attach_lake has made the table, nobody looks for it: that would begin a transaction, which nothing ends. -#}
    {%- if execute and results and flags.WHICH in ('run', 'build')
            and (target.type != 'postgres' or load_relation(ledger) is not none) -%}
        {%- set count = namespace(models=0, passed=0, warned=0, failed=0, errors=0) -%}
        {%- for result in results if result.node.resource_type != 'exposure' -%}
            {%- set is_test = result.node.resource_type in ('test', 'unit_test') -%}
            {%- if result.status == 'success' -%}
                {%- set count.models = count.models + (1 if result.node.resource_type == 'model' else 0) -%}
            {%- elif result.status == 'pass' -%}
                {%- set count.passed = count.passed + 1 -%}
            {%- elif result.status == 'warn' -%}
                {%- set count.warned = count.warned + 1 -%}
            {%- elif result.status == 'fail' and is_test -%}
                {%- set count.failed = count.failed + 1 -%}
            {%- else -%}
                {%- set count.errors = count.errors + 1 -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set selection = invocation_args_dict.get('select') or [] -%}
        insert into {{ ledger }} (
            build_id, schema_prefix, command, selection, is_full_refresh, status,
            models_built, tests_passed, tests_warned, tests_failed, errors, started_at, finished_at
        )
        values (
            '{{ invocation_id }}',
            '{{ env_var("GRANARY_SCHEMA_PREFIX", "") }}',
            '{{ flags.WHICH }}',
            {{ "'" ~ (selection | join(' ') | replace("'", "''")) ~ "'" if selection else 'null' }},
            {{ flags.FULL_REFRESH or false }},
            '{{ "failed" if count.failed or count.errors else "passed" }}',
            {{ count.models }}, {{ count.passed }}, {{ count.warned }}, {{ count.failed }}, {{ count.errors }},
            cast('{{ run_started_at }}' as {{ type_moment() }}), {{ 'clock_timestamp()' if target.type == 'postgres' else 'current_timestamp' }}
        )
    {%- endif -%}
{% endmacro %}
