-- Each staged order line whose key no later batch delivered again is in fct_order_lines exactly once, but for exact repeats.

with

latest as (

    select
        *,
        max(_batch_id) over (partition by order_id, line_key) as latest_batch_id
    from {{ ref('stg_shop__orders') }}

),

staged_lines as (

    select distinct
        order_id,
        line_key,
        line_content
    from latest
    where _batch_id = latest_batch_id

),

counts as (

    select
        (select count(*) from staged_lines) as staged_count,
        (select count(*) from {{ ref('fct_order_lines') }}) as lines_count

)

select * from counts
where staged_count <> lines_count
