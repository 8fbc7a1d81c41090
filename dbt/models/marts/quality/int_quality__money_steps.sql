-- Part of money_reconciliation, and in its folder: it reads the feeds' marts, so it can't be built or tested before them.
{{ config(materialized='ephemeral', schema='intermediate', access='protected', contract={'enforced': false}) }}

-- depends_on: {{ ref('int_quality__overwritten_rows') }}

{%- for table in reconciled_tables() -%}
{%- for model in [table.staging] + table.models -%}
{%- do ref(model) -%}
{%- endfor -%}
{%- endfor %}

with

delivered as (

    select * from {{ ref('int_quality__batch_amounts') }}

),

rejected as (

    select * from {{ ref('int_quality__rejected_amounts') }}

),

staged as (

    select * from {{ ref('int_quality__staged_amounts') }}

),

-- Read as they are now. A CTE in the joins would keep PostgreSQL from reading them in parallel.
versions as (

    {%- for amount in declared_amounts() %}
    {%- set staged_amount = declared_sql(amount.staged, 'versions') %}
    select
        '{{ amount.feed }}' as feed,
        '{{ amount.measure }}' as measure,
        true as is_current,
        false as is_overwritten,
        cast(sum({{ staged_amount }}) as numeric(38, 4)) as amount_usd,
        count(*) as row_count
    from {{ ref(amount.versions) }} as versions
    {%- if holds_all_versions(amount.versions) %}
    where versions.is_current
    {%- endif %}
    union all
    select
        '{{ amount.feed }}' as feed,
        '{{ amount.measure }}' as measure,
        false as is_current,
        overwritten._row_id is not null as is_overwritten,
        cast(sum({{ staged_amount }}) as numeric(38, 4)) as amount_usd,
        count(*) as row_count
    {%- if holds_all_versions(amount.versions) %}
    from {{ ref(amount.versions) }} as versions
    left join {{ ref('int_quality__overwritten_rows') }} as overwritten
        on versions._row_id = overwritten._row_id
    where not versions.is_current
    {%- else %}
    -- Only staging has the other versions, and parses all of them.
    from {{ ref(amount.staging) }} as versions
    left join {{ ref(amount.versions) }} as current_versions
        on versions._row_id = current_versions._row_id
    left join {{ ref('int_quality__overwritten_rows') }} as overwritten
        on versions._row_id = overwritten._row_id
    where current_versions._row_id is null
    {%- endif %}
    group by overwritten._row_id is not null
    union all
    {%- endfor %}
    -- Keeps the query valid if no source declares amounts.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as measure,
        cast(null as boolean) as is_current,
        cast(null as boolean) as is_overwritten,
        cast(null as numeric(38, 4)) as amount_usd,
        cast(null as bigint) as row_count
    where false

),

-- The steps up to the current versions. What a batch brought was added up when it was new.
counted as (

    select
        feed,
        measure,
        'delivered' as step_name,
        sum(amount_usd) as amount_usd,
        sum(row_count) as row_count,
        sum(rows_without_amount_count) as rows_without_amount_count
    from delivered
    group by feed, measure

    union all

    select
        feed,
        measure,
        'rejected' as step_name,
        sum(amount_usd) as amount_usd,
        count(*) as row_count,
        count(*) - count(amount_usd) as rows_without_amount_count
    from rejected
    group by feed, measure

    union all

    select
        feed,
        measure,
        'staged' as step_name,
        sum(amount_usd) as amount_usd,
        sum(row_count) as row_count,
        0 as rows_without_amount_count
    from staged
    group by feed, measure

    union all

    select
        feed,
        measure,
        case
            when is_current then 'current'
            when is_overwritten then 'overwritten'
            else 'superseded'
        end as step_name,
        amount_usd,
        row_count,
        0 as rows_without_amount_count
    from versions

),

{%- set first_steps = [
    {'name': 'delivered', 'title': 'in all rows of the raw table', 'is_total': true},
    {'name': 'rejected', 'title': 'in rejected rows', 'is_total': false},
    {'name': 'staged', 'title': 'in all versions that staging holds', 'is_total': true},
    {'name': 'superseded', 'title': 'in versions that a later one replaced', 'is_total': false},
    {
        'name': 'overwritten',
        'title': 'in rows that a later row of their own file replaced with other values',
        'is_total': false,
    },
    {'name': 'current', 'title': 'in the current versions', 'is_total': true},
] %}

-- Deductions change sign, so that each section adds up to the next total. All amounts have the same scale: DuckDB would otherwise
-- round those of a larger scale to that of the others.
steps as (

    {%- for amount in declared_amounts() %}
    select
        '{{ amount.feed }}' as feed,
        '{{ amount.measure }}' as measure,
        {{ dbt.string_literal(dbt.escape_single_quotes(amount.title)) }} as measure_title,
        measured.*
    from (
        {%- for step in first_steps %}
        select
            {{ loop.index }} as step_number,
            '{{ step.name }}' as step_name,
            '{{ step.title }}' as step_title,
            {{ step.is_total }} as is_total,
            cast({{ 'sum' if step.is_total else '-sum' }}(amount_usd) as numeric(38, 4)) as amount_usd,
            coalesce(sum(row_count), 0) as row_count,
            coalesce(sum(rows_without_amount_count), 0) as rows_without_amount_count
        from counted
        where
            feed = '{{ amount.feed }}'
            and measure = '{{ amount.measure }}'
            and step_name = '{{ step.name }}'
        {%- if not loop.last %}
        union all
        {%- endif %}
        {%- endfor %}
        {%- set last_total = namespace(step=none) %}
        {%- for step in amount.marts %}
        union all
        {%- if step.without %}
        {%- set before = last_total.step %}
        select
            {{ first_steps | length + loop.index }} as step_number,
            '{{ step.step }}' as step_name,
            {{ dbt.string_literal(dbt.escape_single_quotes(step.title)) }} as step_title,
            false as is_total,
            cast(-{{ before.amount }} as numeric(38, 4)) as amount_usd,
            {{ before.rows or 'null' }} as row_count,
            0 as rows_without_amount_count
        from {{ ref(before.mart) }} as counted
        where
            not exists (
                select 1 from {{ ref(step.without) }} as present
                where counted.{{ step.key }} = present.{{ step.key }}
            )
        {%- elif step.step %}
        select
            {{ first_steps | length + loop.index }} as step_number,
            '{{ step.step }}' as step_name,
            {{ dbt.string_literal(dbt.escape_single_quotes(step.title)) }} as step_title,
            false as is_total,
            cast(-{{ step.amount }} as numeric(38, 4)) as amount_usd,
            {{ step.rows or 'null' }} as row_count,
            0 as rows_without_amount_count
        from {{ ref(step.mart) }}
        where {{ step.where }}
        {%- else %}
        {%- set last_total.step = step %}
        select
            {{ first_steps | length + loop.index }} as step_number,
            '{{ step.mart }}' as step_name,
            'in the mart' as step_title,
            true as is_total,
            cast({{ step.amount }} as numeric(38, 4)) as amount_usd,
            {{ step.rows or 'null' }} as row_count,
            0 as rows_without_amount_count
        from {{ ref(step.mart) }}
        {%- endif %}
        {%- endfor %}
    ) as measured
    union all
    {%- endfor %}
    -- Keeps the query valid if no source declares amounts.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as measure,
        cast(null as {{ dbt.type_string() }}) as measure_title,
        cast(null as integer) as step_number,
        cast(null as {{ dbt.type_string() }}) as step_name,
        cast(null as {{ dbt.type_string() }}) as step_title,
        cast(null as boolean) as is_total,
        cast(null as numeric(38, 4)) as amount_usd,
        cast(null as bigint) as row_count,
        cast(null as bigint) as rows_without_amount_count
    where false

),

final as (

    select
        -- ids
        feed,
        measure,

        -- text
        measure_title,
        step_name,
        step_title,

        -- numerics
        cast(step_number as bigint) as step_number,
        cast(coalesce(amount_usd, 0) as numeric(38, 4)) as amount_usd,
        cast(row_count as bigint) as row_count,
        cast(rows_without_amount_count as bigint) as rows_without_amount_count,

        -- booleans
        is_total

    from steps

)

select * from final
