-- Of a row that staging leaves out, this is the only place where its amount is read. An amount is made of some columns; where
-- one of them fails a check, as in a line of a million units, there is no amount.
{% set amounts = [
    {'feed': 'tickets', 'entity': 'orders', 'measure': 'order_totals', 'columns': ['total_amount'],
        'amount': 'parsed.total_amount'},
    {'feed': 'tickets', 'entity': 'transactions', 'measure': 'collected', 'columns': ['amount'], 'amount': 'parsed.amount'},
    {'feed': 'shop', 'entity': 'orders', 'measure': 'net_sales', 'columns': ['quantity', 'unit_price', 'discount', 'status'],
        'amount': net_sales_of(
            'parsed.quantity',
            'parsed.unit_price',
            discount_in_usd('parsed.discount', 'parsed.quantity', 'parsed.unit_price'),
            'parsed.status',
        )},
] %}

with

source as (

    {%- for entity in amounts %}
    {%- set columns = declared_columns(entity.feed, entity.entity) if execute else [] %}
    {%- set checks = checks_of(columns) | selectattr('column', 'in', entity.columns) | map(attribute='fails') | list %}
    select
        '{{ entity.feed }}' as feed,
        '{{ entity.entity }}' as entity,
        '{{ entity.measure }}' as measure,
        cast(
            case when {{ checks | join(' or ') or 'false' }} then null else {{ entity.amount }} end as numeric(38, 2)
        ) as amount_usd,
        delivered._batch_id,
        delivered._row_id
    {{ delivered_rows(entity.feed, entity.entity, columns) }}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}

),

renamed as (

    select
        -- ids
        feed,
        entity,

        -- text
        measure,

        -- numerics
        amount_usd,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
