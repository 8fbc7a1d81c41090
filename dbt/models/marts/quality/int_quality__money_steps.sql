-- Part of money_reconciliation, and in its folder: it reads the feeds' marts, so it can't be built or tested before them.
{{ config(materialized='ephemeral', schema='intermediate', access='protected', contract={'enforced': false}) }}

{%- for table in reconciled_tables() -%}
{%- for model in [table.staging] + table.models -%}
{%- do ref(model) -%}
{%- endfor -%}
{%- endfor %}

with

delivered as (

    select * from {{ ref('int_quality__delivered_amounts') }}

),

rejected as (

    select distinct _row_id from {{ ref('int_quality__rejections') }}
    where
        severity = 'row'
        and _row_id is not null

),

overwritten as (

    select * from {{ ref('int_quality__overwritten_rows') }}

),

-- Deductions change sign, so that each section adds up to the next total.
steps as (

    {%- for amount in declared_amounts() %}
    {%- set staged_amount = declared_sql(amount.staged, 'versions') %}
    select
        '{{ amount.feed }}' as feed,
        '{{ amount.measure }}' as measure,
        {{ dbt.string_literal(dbt.escape_single_quotes(amount.title)) }} as measure_title,
        measured.*
    from (
        select
            1 as step_number,
            'delivered' as step_name,
            'in all rows of the raw table' as step_title,
            true as is_total,
            sum(amount_usd) as amount_usd,
            count(*) as row_count,
            count(*) - count(amount_usd) as rows_without_amount_count
        from delivered
        where
            feed = '{{ amount.feed }}'
            and measure = '{{ amount.measure }}'
        union all
        select
            2 as step_number,
            'rejected' as step_name,
            'in rejected rows' as step_title,
            false as is_total,
            -sum(delivered.amount_usd) as amount_usd,
            count(*) as row_count,
            count(*) - count(delivered.amount_usd) as rows_without_amount_count
        from delivered
        inner join rejected
            on delivered._row_id = rejected._row_id
        where
            delivered.feed = '{{ amount.feed }}'
            and delivered.measure = '{{ amount.measure }}'
        union all
        select
            3 as step_number,
            'staged' as step_name,
            'in all versions that staging holds' as step_title,
            true as is_total,
            sum({{ staged_amount }}) as amount_usd,
            count(*) as row_count,
            0 as rows_without_amount_count
        from {{ ref(amount.staging) }} as versions
        {%- for is_overwritten in [false, true] %}
        union all
        select
            {%- if is_overwritten %}
            5 as step_number,
            'overwritten' as step_name,
            'in rows that a later row of their own file replaced with other values' as step_title,
            {%- else %}
            4 as step_number,
            'superseded' as step_name,
            'in versions that a later one replaced' as step_title,
            {%- endif %}
            false as is_total,
            -sum({{ staged_amount }}) as amount_usd,
            count(*) as row_count,
            0 as rows_without_amount_count
        {%- if holds_all_versions(amount.versions) %}
        from {{ ref(amount.versions) }} as versions
        left join overwritten
            on versions._row_id = overwritten._row_id
        where
            not versions.is_current
            and overwritten._row_id is {{ 'not null' if is_overwritten else 'null' }}
        {%- else %}
        from {{ ref(amount.staging) }} as versions
        left join {{ ref(amount.versions) }} as current_versions
            on versions._row_id = current_versions._row_id
        left join overwritten
            on versions._row_id = overwritten._row_id
        where
            current_versions._row_id is null
            and overwritten._row_id is {{ 'not null' if is_overwritten else 'null' }}
        {%- endif %}
        {%- endfor %}
        union all
        select
            6 as step_number,
            'current' as step_name,
            'in the current versions' as step_title,
            true as is_total,
            sum({{ staged_amount }}) as amount_usd,
            count(*) as row_count,
            0 as rows_without_amount_count
        from {{ ref(amount.versions) }} as versions
        {%- if holds_all_versions(amount.versions) %}
        where versions.is_current
        {%- endif %}
        {%- set last_total = namespace(step=none) %}
        {%- for step in amount.marts %}
        union all
        {%- if step.without %}
        {%- set before = last_total.step %}
        select
            {{ 6 + loop.index }} as step_number,
            '{{ step.step }}' as step_name,
            {{ dbt.string_literal(dbt.escape_single_quotes(step.title)) }} as step_title,
            false as is_total,
            -{{ before.amount }} as amount_usd,
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
            {{ 6 + loop.index }} as step_number,
            '{{ step.step }}' as step_name,
            {{ dbt.string_literal(dbt.escape_single_quotes(step.title)) }} as step_title,
            false as is_total,
            -{{ step.amount }} as amount_usd,
            {{ step.rows or 'null' }} as row_count,
            0 as rows_without_amount_count
        from {{ ref(step.mart) }}
        where {{ step.where }}
        {%- else %}
        {%- set last_total.step = step %}
        select
            {{ 6 + loop.index }} as step_number,
            '{{ step.mart }}' as step_name,
            'in the mart' as step_title,
            true as is_total,
            {{ step.amount }} as amount_usd,
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
