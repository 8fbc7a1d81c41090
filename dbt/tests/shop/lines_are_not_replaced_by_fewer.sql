-- A later file replaces all lines that an earlier one had for a key, such as two lines with the same product. If it has fewer of
-- them, it may have meant only the lines that it brings. Lines with a `line_id` can be corrected one by one.
{{ config(severity='warn') }}

with

deliveries as (

    select
        order_id,
        line_key,
        _batch_id,
        count(*) as line_count
    from {{ ref('int_shop__order_line_versions') }}
    where
        line_id is null
        and not is_repeated
    group by
        order_id,
        line_key,
        _batch_id

),

compared as (

    select
        *,
        lag(line_count) over (partition by order_id, line_key order by _batch_id) as lines_before
    from deliveries

)

select * from compared
where line_count < lines_before
