{{ config(
    materialized='table',
    indexes=[{'columns': ['feed', 'measure', 'step_number'], 'unique': true}],
) }}

{#- What was delivered, staged, superseded and is current is said in the same way of each measure. -#}
{% set measures = [
    {'feed': 'tickets', 'measure': 'order_totals', 'staged': 'stg_tickets__orders', 'versions': 'int_tickets__order_versions',
        'amount': 'order_total_usd'},
    {'feed': 'tickets', 'measure': 'collected', 'staged': 'stg_tickets__transactions',
        'versions': 'int_tickets__transaction_versions', 'amount': 'amount_usd'},
    {'feed': 'shop', 'measure': 'net_sales', 'staged': 'stg_shop__orders', 'versions': 'int_shop__order_line_versions',
        'amount': net_sales_of('quantity', 'unit_price_usd', 'discount_usd', 'line_status')},
] %}
{#- And these are the marts that must come to the same sum. -#}
{% set marts = [
    {'feed': 'tickets', 'measure': 'order_totals', 'number': 6, 'mart': 'fct_orders', 'amount': 'sum(order_total_usd)',
        'rows': 'count(*)'},
    {'feed': 'tickets', 'measure': 'order_totals', 'number': 7, 'mart': 'fct_weekly_sales', 'amount': 'sum(gross_sales_usd)',
        'rows': 'coalesce(sum(order_count), 0)'},
    {'feed': 'tickets', 'measure': 'collected', 'number': 6, 'mart': 'fct_transactions', 'amount': 'sum(amount_usd)',
        'rows': 'count(*)'},
    {'feed': 'tickets', 'measure': 'collected', 'number': 8, 'mart': 'fct_orders', 'amount': 'sum(collected_usd)',
        'rows': 'null'},
    {'feed': 'tickets', 'measure': 'collected', 'number': 9, 'mart': 'fct_weekly_sales', 'amount': 'sum(collected_usd)',
        'rows': 'null'},
    {'feed': 'shop', 'measure': 'net_sales', 'number': 6, 'mart': 'fct_order_lines', 'amount': 'sum(net_sales_usd)',
        'rows': 'count(*)'},
    {'feed': 'shop', 'measure': 'net_sales', 'number': 7, 'mart': 'fct_daily_sales', 'amount': 'sum(net_sales_usd)',
        'rows': 'null'},
    {'feed': 'shop', 'measure': 'net_sales', 'number': 8, 'mart': 'customer_lifetime_value', 'amount': 'sum(net_revenue_usd)',
        'rows': 'null'},
    {'feed': 'shop', 'measure': 'net_sales', 'number': 9, 'mart': 'product_performance', 'amount': 'sum(net_revenue_usd)',
        'rows': 'null'},
] %}

with

delivered as (

    select * from {{ ref('stg_ledger__delivered_amounts') }}

),

rejected as (

    select distinct _row_id from {{ ref('rejected_rows') }}
    where
        severity = 'row'
        and _row_id is not null

),

-- What is taken away has a negative amount.
steps as (

    {%- for measure in measures %}
    select
        '{{ measure.feed }}' as feed,
        '{{ measure.measure }}' as measure,
        1 as step_number,
        'delivered' as step_name,
        true as is_total,
        sum(amount_usd) as amount_usd,
        count(*) as row_count,
        count(*) - count(amount_usd) as rows_without_amount_count
    from delivered
    where measure = '{{ measure.measure }}'
    union all
    select
        '{{ measure.feed }}' as feed,
        '{{ measure.measure }}' as measure,
        2 as step_number,
        'rejected' as step_name,
        false as is_total,
        -sum(delivered.amount_usd) as amount_usd,
        count(*) as row_count,
        count(*) - count(delivered.amount_usd) as rows_without_amount_count
    from delivered
    inner join rejected
        on delivered._row_id = rejected._row_id
    where delivered.measure = '{{ measure.measure }}'
    union all
    select
        '{{ measure.feed }}' as feed,
        '{{ measure.measure }}' as measure,
        3 as step_number,
        'staged' as step_name,
        true as is_total,
        sum({{ measure.amount }}) as amount_usd,
        count(*) as row_count,
        0 as rows_without_amount_count
    from {{ ref(measure.staged) }}
    union all
    select
        '{{ measure.feed }}' as feed,
        '{{ measure.measure }}' as measure,
        4 as step_number,
        'superseded' as step_name,
        false as is_total,
        -sum({{ measure.amount }}) as amount_usd,
        count(*) as row_count,
        0 as rows_without_amount_count
    from {{ ref(measure.versions) }}
    where not is_current
    union all
    select
        '{{ measure.feed }}' as feed,
        '{{ measure.measure }}' as measure,
        5 as step_number,
        'current' as step_name,
        true as is_total,
        sum({{ measure.amount }}) as amount_usd,
        count(*) as row_count,
        0 as rows_without_amount_count
    from {{ ref(measure.versions) }}
    where is_current
    union all
    {%- endfor %}
    {%- for mart in marts %}
    select
        '{{ mart.feed }}' as feed,
        '{{ mart.measure }}' as measure,
        {{ mart.number }} as step_number,
        '{{ mart.mart }}' as step_name,
        true as is_total,
        {{ mart.amount }} as amount_usd,
        {{ mart.rows }} as row_count,
        0 as rows_without_amount_count
    from {{ ref(mart.mart) }}
    union all
    {%- endfor %}
    select
        'tickets' as feed,
        'collected' as measure,
        7 as step_number,
        'without_order' as step_name,
        false as is_total,
        -sum(collected.amount_usd) as amount_usd,
        count(*) as row_count,
        0 as rows_without_amount_count
    from {{ ref('fct_transactions') }} as collected
    left join {{ ref('fct_orders') }} as orders
        on collected.order_id = orders.order_id
    where orders.order_id is null

),

-- Each total begins a section, which ends before the next one.
sections as (

    select
        *,
        count(case when is_total then 1 end) over (partition by feed, measure order by step_number) as section_number
    from steps

),

carried as (

    select
        feed,
        measure,
        section_number,
        coalesce(sum(amount_usd), 0) as carried_usd
    from sections
    group by feed, measure, section_number

),

final as (

    select
        -- ids
        sections.feed,
        sections.measure,

        -- text
        sections.step_name,

        -- numerics
        cast(sections.step_number as bigint) as step_number,
        cast(coalesce(sections.amount_usd, 0) as numeric(38, 2)) as amount_usd,
        cast(coalesce(sections.amount_usd, 0) - carried.carried_usd as numeric(38, 2)) as difference_usd,
        cast(sections.row_count as bigint) as row_count,
        cast(sections.rows_without_amount_count as bigint) as rows_without_amount_count,

        -- booleans
        sections.is_total

    from sections
    left join carried
        on
            sections.is_total
            and sections.feed = carried.feed
            and sections.measure = carried.measure
            and sections.section_number = carried.section_number + 1

)

select * from final
