-- The feeds are those that the sources declare, so that a new one is covered as soon as it is declared. dbt knows them only when
-- it compiles, which is why its lineage shows no line from the sources to here.
with

rejected_values as (

    {%- for table in landing_tables() %}
    {{ rejected_values(table.feed, table.entity) }}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}

)

select * from rejected_values
