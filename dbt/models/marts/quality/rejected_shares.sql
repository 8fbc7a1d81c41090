-- Rebuilt in full: limits and acceptances may change at any time, later batches heal rejections, and there are few batches.
with

batches as (

    select * from {{ ref('load_audit') }}
    where status = 'loaded'

),

batch_amounts as (

    select * from {{ ref('int_quality__batch_amounts') }}

),

rejected_amounts as (

    select * from {{ ref('int_quality__rejected_amounts') }}

),

healed_rejections as (

    select * from {{ ref('int_quality__healed_rejections') }}

),

accepted_batches as (

    select * from {{ ref('stg_ledger__accepted_batches') }}

),

-- What a later batch delivered in good form is no longer missing.
missing as (

    select rejections.*
    from {{ ref('int_quality__rejections') }} as rejections
    left join healed_rejections
        on rejections.rejection_id = healed_rejections.rejection_id
    where healed_rejections.rejection_id is null

),

limits as (

    {%- for table in landing_tables() %}
    {%- set limits = reject_limits(table.feed, table.entity) if execute else {} %}
    select
        '{{ table.feed }}' as feed,
        '{{ table.entity }}' as entity,
        cast({{ limits.warn_above }} as numeric(7, 6)) as warn_above,
        cast({{ limits.fail_above }} as numeric(7, 6)) as fail_above
    union all
    {%- endfor %}
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as numeric(7, 6)) as warn_above,
        cast(null as numeric(7, 6)) as fail_above
    where false

),

-- The columns from which an amount of money is computed.
money_columns as (

    {%- for amount in declared_amounts() %}
    {%- for column in columns_of_amount(amount.delivered) %}
    select
        '{{ amount.feed }}' as feed,
        '{{ amount.entity }}' as entity,
        '{{ column }}' as column_name
    union
    {%- endfor %}
    {%- endfor %}
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as {{ dbt.type_string() }}) as column_name
    where false

),

-- Each rejection, for the rows of its batch or for a column of money; its reason is counted within both.
rejections as (

    select
        _batch_id as batch_id,
        'rows' as measured,
        column_name,
        reason,
        explanation,
        delivered_value,
        line_number
    from missing
    where severity = 'row'

    union all

    select
        missing._batch_id as batch_id,
        'column ' || missing.column_name as measured,
        missing.column_name,
        missing.reason,
        missing.explanation,
        missing.delivered_value,
        missing.line_number
    from missing
    inner join money_columns
        on
            missing.feed = money_columns.feed
            and missing.entity = money_columns.entity
            and missing.column_name = money_columns.column_name

),

counted as (

    select
        *,
        count(*) over (partition by batch_id, measured) as rejection_count,
        count(*) over (partition by batch_id, measured, column_name, explanation) as reason_count
    from rejections

),

-- The most frequent reason, with its first case as an example.
ranked as (

    select
        *,
        row_number() over (
            partition by batch_id, measured
            order by reason_count desc, line_number asc, column_name asc
        ) as rank_number
    from counted

),

main_reasons as (

    select * from ranked
    where rank_number = 1

),

missing_rows as (

    select distinct
        _batch_id,
        _row_id
    from missing
    where
        severity = 'row'
        and _row_id is not null

),

-- A rejected line has no _row_id.
missing_counts as (

    select
        _batch_id as batch_id,
        count(distinct _row_id) + sum(case when _row_id is null then 1 else 0 end) as row_count
    from missing
    where severity = 'row'
    group by _batch_id

),

missing_amounts as (

    select
        rejected_amounts._batch_id as batch_id,
        rejected_amounts.measure,
        -- Without signs, because returns would hide the sales that were rejected with them.
        sum(abs(rejected_amounts.amount_usd)) as amount_usd
    from rejected_amounts
    inner join missing_rows
        on rejected_amounts._row_id = missing_rows._row_id
    group by
        rejected_amounts._batch_id,
        rejected_amounts.measure

),

measures as (

    select
        batches.batch_id,
        'rows' as measured,
        'rows' as explained_by,
        'rows' as unit,
        cast(batches.rows_read_count as numeric(38, 2)) as delivered,
        cast(missing_counts.row_count as numeric(38, 2)) as rejected
    from batches
    inner join missing_counts
        on batches.batch_id = missing_counts.batch_id

    union all

    select
        main_reasons.batch_id,
        main_reasons.measured,
        main_reasons.measured as explained_by,
        'values' as unit,
        cast(batches.rows_loaded_count as numeric(38, 2)) as delivered,
        cast(main_reasons.rejection_count as numeric(38, 2)) as rejected
    from main_reasons
    inner join batches
        on main_reasons.batch_id = batches.batch_id
    where main_reasons.measured <> 'rows'

    union all

    select
        missing_amounts.batch_id,
        'amount ' || missing_amounts.measure as measured,
        'rows' as explained_by,
        'USD' as unit,
        batch_amounts.absolute_amount_usd as delivered,
        cast(missing_amounts.amount_usd as numeric(38, 2)) as rejected
    from missing_amounts
    inner join batch_amounts
        on
            missing_amounts.batch_id = batch_amounts._batch_id
            and missing_amounts.measure = batch_amounts.measure

),

judged as (

    select
        measures.*,
        batches.feed,
        batches.entity,
        batches.file_path,
        limits.warn_above,
        limits.fail_above,
        accepted_batches.why as accepted_because,
        accepted_batches.accepted_at,
        {{ ratio('measures.rejected', 'measures.delivered', decimals=6) }} as rejected_share,
        case
            when accepted_batches.batch_id is not null then 'accepted'
            when measures.rejected > measures.delivered * limits.fail_above then 'fail'
            when measures.measured = 'rows' and batches.rows_staged_count = 0 then 'fail'
            when measures.rejected > measures.delivered * limits.warn_above then 'warn'
            else 'pass'
        end as verdict
    from measures
    inner join batches
        on measures.batch_id = batches.batch_id
    inner join limits
        on
            batches.feed = limits.feed
            and batches.entity = limits.entity
    left join accepted_batches
        on measures.batch_id = accepted_batches.batch_id
    where measures.rejected > 0

),

explained as (

    select
        judged.*,
        main_reasons.column_name,
        main_reasons.reason,
        main_reasons.explanation,
        main_reasons.reason_count,
        main_reasons.line_number as example_line_number,
        main_reasons.delivered_value as example_value,
        -- For example: 8 of 10 rows rejected (80.0 %), most often because price cannot be read as amount (7 times, first on line
        -- 2: 1,5)
        case when judged.measured <> 'rows' then judged.measured || ': ' else '' end
        || {{ as_text('judged.rejected', 0) }} || ' of ' || {{ as_text('judged.delivered', 0) }} || ' ' || judged.unit
        || ' rejected (' || {{ as_text('judged.rejected_share * 100', 1) }} || ' %), most often because '
        || coalesce(main_reasons.column_name || ' ', '') || main_reasons.explanation
        || case
            when main_reasons.reason_count = 1 then ' (on line '
            else ' (' || {{ as_text('main_reasons.reason_count', 0) }} || ' times, first on line '
        end || {{ as_text('main_reasons.line_number', 0) }}
        || coalesce(': ' || main_reasons.delivered_value, '') || ')' as finding
    from judged
    left join main_reasons
        on
            judged.batch_id = main_reasons.batch_id
            and judged.explained_by = main_reasons.measured

),

final as (

    select
        -- ids
        batch_id,
        measured,
        feed,
        entity,

        -- text
        file_path,
        verdict,
        file_path || ': ' || finding as finding,
        column_name,
        reason,
        explanation,
        example_value,
        accepted_because,

        -- numerics
        delivered,
        rejected,
        rejected_share,
        warn_above,
        fail_above,
        reason_count,
        example_line_number,

        -- timestamps
        accepted_at

    from explained

)

select * from final
