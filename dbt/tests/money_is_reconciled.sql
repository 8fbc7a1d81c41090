-- From the delivered files to the last mart, each total equals the sum of the steps before it, to the cent.

select
    feed,
    measure,
    step_number,
    step_name,
    amount_usd,
    difference_usd
from {{ ref('money_reconciliation') }}
where difference_usd <> 0
