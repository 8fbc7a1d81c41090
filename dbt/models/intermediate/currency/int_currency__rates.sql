with

rates as (

    select * from {{ ref('fx_rates') }}

),

followed as (

    select
        *,
        lead(holds_from) over (
            partition by currency
            order by holds_from
        ) as replaced_on
    from rates

),

with_usd as (

    select
        -- ids
        currency,

        -- text
        rate_source,

        -- numerics
        usd_per_unit,

        -- timestamps
        holds_from,
        least(coalesce(replaced_on, expires_on), expires_on) as holds_until

    from followed

    union all

    -- So that a join keeps dollars as they are.
    select
        'USD' as currency,
        'USD itself' as rate_source,
        cast(1 as numeric(17, 10)) as usd_per_unit,
        cast('0001-01-01' as date) as holds_from,
        cast('9999-12-31' as date) as holds_until

)

select * from with_usd
