-- The seed is joined here rather than in the fact, so that mapping a new spelling does not require the enrolments to be rebuilt.
with

mapped_statuses as (

    select * from {{ ref('enrolment_statuses') }}

),

statuses as (

    select enrolment_status from mapped_statuses
    union
    select enrolment_status from {{ ref('fct_enrolments') }}

),

final as (

    select
        -- ids
        statuses.enrolment_status,

        -- text
        coalesce(mapped_statuses.enrolment_state, 'unmapped') as enrolment_state,

        -- booleans
        -- A status that nobody has mapped may mean anything, so it must not make a learner.
        coalesce(mapped_statuses.is_enrolled, false) as is_enrolled,
        mapped_statuses.enrolment_status is not null as is_mapped

    from statuses
    left join mapped_statuses
        on statuses.enrolment_status = mapped_statuses.enrolment_status

)

select * from final
