{{ config(
    materialized='incremental',
    unique_key=['order_id', 'line_key'],
    indexes=[
        {'columns': ['order_date']},
        {'columns': ['customer_id']},
        {'columns': ['product_id']},
        {'columns': ['is_dated_ahead']},
    ],
) }}

with

{% if is_incremental() %}

-- Lines that were dated ahead may not be any more, now that something has been delivered after them.
changed_lines as (

    select
        order_id,
        line_key
    from {{ ref('int_shop__order_line_versions') }}
    where _batch_id > {{ watermark(restarts_with_seeds=true) }}

    union

    select
        order_id,
        line_key
    from {{ this }}
    where is_dated_ahead

),

{% endif %}

lines as (

    select
        versions.*,
        row_number() over (partition by versions.order_id, versions.line_key order by versions._row_id) as line_number,
        abs(versions.quantity) as line_units,
        {{ line_value('versions.quantity', 'versions.unit_price_usd', 'versions.discount_usd') }} as line_value_usd,
        coalesce(versions.order_date > {{ newest_delivery_date('shop') }}, false) as is_dated_ahead
    from {{ ref('int_shop__order_line_versions') }} as versions
    {% if is_incremental() %}
    inner join changed_lines
        on
            versions.order_id = changed_lines.order_id
            and versions.line_key = changed_lines.line_key
    {% endif %}
    where versions.is_current

),

line_statuses as (

    select * from {{ ref('line_statuses') }}

),

statuses_known as (

    select
        lines.*,
        coalesce(line_statuses.counts_as, 'unmapped') as counts_as
    from lines
    left join line_statuses
        on lines.line_status = line_statuses.line_status

),

-- A line with a status that means `returned` was sold and then given back as a whole. A line with a negative quantity is only a
-- return. A negative price adjusts what is owed, and moves no units.
classified as (

    select
        *,
        counts_as in ('sold', 'returned') as is_counted,
        counts_as = 'returned' and not is_return as is_given_back,
        unit_price_usd < 0 as is_adjustment
    from statuses_known

),

counted as (

    select
        *,
        is_counted and not is_adjustment and not is_return as is_sold,
        is_counted and not is_adjustment and (is_return or is_given_back) as is_returned
    from classified

),

final as (

    select
        -- ids
        order_id,
        line_key,
        cast(line_number as bigint) as line_number,
        product_id,
        coalesce(customer_id, 'unknown') as customer_id,

        -- text
        line_status,
        counts_as,

        -- numerics
        quantity,
        unit_price_usd,
        case when is_sold then line_units else 0 end as units,
        case when is_returned then line_units else 0 end as returned_units,
        cast(line_value_usd as numeric(38, 4)) as line_value_usd,
        cast(case when is_sold then line_units * unit_price_usd else 0 end as numeric(38, 4)) as gross_sales_usd,
        cast(case when is_sold then discount_usd else 0 end as numeric(38, 4)) as discount_usd,
        -- The refund is what was paid, so the discount is deducted from it.
        cast(case when is_returned then abs(line_value_usd) else 0 end as numeric(38, 4)) as returns_usd,
        cast(
            case when is_counted and is_adjustment and not is_given_back then line_value_usd else 0 end as numeric(38, 4)
        ) as adjustments_usd,
        cast(case when is_counted and not is_given_back then line_value_usd else 0 end as numeric(38, 4)) as net_sales_usd,

        -- booleans
        is_return,
        is_dated_ahead,

        -- timestamps
        order_date,

        -- provenance
        _batch_id,
        _row_id

    from counted

)

select * from final
