with

-- Each total begins a section that ends before the next total.
sections as (

    select
        *,
        count(case when is_total then 1 end) over (partition by feed, measure order by step_number) as section_number
    from {{ ref('int_quality__money_steps') }}

),

carried as (

    select
        feed,
        measure,
        section_number,
        sum(amount_usd) as carried_usd
    from sections
    group by feed, measure, section_number

),

final as (

    select
        -- ids
        sections.feed,
        sections.measure,

        -- text
        sections.measure_title,
        sections.step_name,
        sections.step_title,

        -- numerics
        sections.step_number,
        -- Rounded only here, so that each total is compared with exact sums.
        cast(sections.amount_usd as numeric(38, 2)) as amount_usd,
        cast(sections.amount_usd - carried.carried_usd as numeric(38, 2)) as difference_usd,
        sections.row_count,
        sections.rows_without_amount_count,

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
