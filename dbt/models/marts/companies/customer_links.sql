with

accounts as (

    select
        account_id,
        lower(email) as email,
        {{ email_without_tag('lower(email)') }} as untagged_email,
        count(*) over (partition by lower(email)) as holder_count
    from {{ ref('dim_account') }}
    where email is not null

),

customers as (

    select
        customer_id,
        lower(email) as email,
        {{ email_without_tag('lower(email)') }} as untagged_email,
        count(*) over (partition by lower(email)) as holder_count
    from {{ ref('int_kulisse__customers') }}
    where email is not null

),

shared_mailboxes as (

    select * from {{ ref('shared_mailboxes') }}

),

-- A decision about somebody unknown waits until they are delivered.
decisions as (

    select decided.*
    from {{ ref('customer_link_decisions') }} as decided
    inner join {{ ref('dim_account') }} as known_accounts
        on decided.tickets_account_id = known_accounts.account_id
    inner join {{ ref('int_kulisse__customers') }} as known_customers
        on decided.kulisse_customer_id = known_customers.customer_id

),

by_email as (

    select
        accounts.account_id as tickets_account_id,
        customers.customer_id as kulisse_customer_id,
        accounts.email = customers.email as is_same_email,
        accounts.holder_count = 1 and customers.holder_count = 1 as is_nobody_elses,
        shared_mailboxes.mailbox is not null as is_shared_mailbox
    from accounts
    inner join customers
        on accounts.untagged_email = customers.untagged_email
    left join shared_mailboxes
        on {{ mailbox_of('accounts.untagged_email') }} = shared_mailboxes.mailbox

),

pairs as (

    select
        tickets_account_id,
        kulisse_customer_id
    from by_email

    union

    select
        tickets_account_id,
        kulisse_customer_id
    from decisions

),

-- The first reason that applies counts. A decision beats every address, and takes both of its customers out of other pairs.
reasoned as (

    select
        pairs.tickets_account_id,
        pairs.kulisse_customer_id,
        case
            when decisions.decision = 'confirm' then 'decided'
            when decisions.decision = 'forbid' then 'forbidden'
            when of_account.decision is not null or of_customer.decision is not null then 'decided_otherwise'
            when by_email.is_shared_mailbox then 'shared_mailbox'
            when not by_email.is_same_email then 'other_tag'
            when not by_email.is_nobody_elses then 'several_holders'
            else 'same_email'
        end as reason,
        decisions.note
    from pairs
    left join by_email
        on
            pairs.tickets_account_id = by_email.tickets_account_id
            and pairs.kulisse_customer_id = by_email.kulisse_customer_id
    left join decisions
        on
            pairs.tickets_account_id = decisions.tickets_account_id
            and pairs.kulisse_customer_id = decisions.kulisse_customer_id
    left join decisions as of_account
        on
            pairs.tickets_account_id = of_account.tickets_account_id
            and of_account.decision = 'confirm'
    left join decisions as of_customer
        on
            pairs.kulisse_customer_id = of_customer.kulisse_customer_id
            and of_customer.decision = 'confirm'

),

final as (

    select
        -- ids
        tickets_account_id,
        kulisse_customer_id,

        -- text
        case
            when reason in ('decided', 'same_email') then 'confirmed'
            when reason in ('forbidden', 'decided_otherwise') then 'refused'
            else 'proposed'
        end as link_state,
        reason as link_reason,
        note

    from reasoned

)

select * from final
