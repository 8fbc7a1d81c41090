-- Each staged order line is in fct_order_lines exactly once.

with

staged_lines as (

    select distinct
        order_id,
        product_id,
        is_return
    from {{ ref('stg_shop__orders') }}

),

counts as (

    select
        (select count(*) from staged_lines) as staged_count,
        (select count(*) from {{ ref('fct_order_lines') }}) as lines_count

)

select * from counts
where staged_count <> lines_count
