{% set entities = ['accounts', 'events', 'showtimes', 'orders', 'transactions', 'pages', 'identity_merges'] %}

with

rejected_values as (

    {%- for entity in entities %}
    {{ rejected_values('tickets', entity) }}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}

)

select * from rejected_values
