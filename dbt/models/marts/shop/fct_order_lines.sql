{{ config(
    materialized='incremental',
    unique_key=['order_id', 'product_id', 'is_return'],
    indexes=[
        {'columns': ['order_date']},
        {'columns': ['customer_id']},
        {'columns': ['product_id']},
    ],
) }}

with

lines as (

    select
        *,
        abs(quantity) as line_units,
        cast(abs(quantity) * unit_price_usd as numeric(38, 2)) as line_usd,
        line_status = 'cancelled' as is_cancelled
    from {{ ref('int_shop__order_line_versions') }}
    where
        is_current
        and _batch_id > {{ watermark() }}

),

-- A line with the status `returned` was sold and then returned as a whole. A line with a negative quantity is only a return. The
-- refund is what was paid, so the discount is deducted from it. A cancelled line was never sold.
counted as (

    select
        *,
        not is_cancelled and not is_return as is_sold,
        not is_cancelled and (is_return or line_status = 'returned') as is_returned
    from lines

),

final as (

    select
        -- ids
        order_id,
        product_id,
        customer_id,

        -- text
        line_status,

        -- numerics
        quantity,
        unit_price_usd,
        case when is_sold then line_units else 0 end as units,
        case when is_returned then line_units else 0 end as returned_units,
        cast(case when is_sold then line_usd else 0 end as numeric(38, 2)) as gross_sales_usd,
        cast(case when is_sold then discount_usd else 0 end as numeric(38, 2)) as discount_usd,
        cast(case when is_returned then line_usd - discount_usd else 0 end as numeric(38, 2)) as returns_usd,
        cast(
            case when is_sold then line_usd - discount_usd else 0 end
            - case when is_returned then line_usd - discount_usd else 0 end as numeric(38, 2)
        ) as net_sales_usd,

        -- booleans
        is_return,
        is_cancelled,

        -- timestamps
        order_date,

        -- provenance
        _batch_id,
        _row_id

    from counted

)

select * from final
