{#-
    The CTE `resolved` of int_identity__resolved_customers, with the end of the pointers of each customer. Spark writes a CTE out
    wherever it is named, so 24 doublings would be 16 million joins, and each level of a recursion is a job of its own. So each
    doubling is a statement, whose result is a table beside the model's.

    A round that brings nobody to the end of its pointers shows that who is still on the way leads into a cycle: they have gone round
    it once the steps are as many as they are.
-#}
{% macro spark_resolved_pointers() %}
    {%- set latest = ref('int_identity__latest_merges') -%}
    {%- set tables = [beside('hops_even'), beside('hops_odd')] -%}
    {%- set last = namespace(table=tables[0], on_the_way=-1, is_done=not (execute and flags.WHICH in ('run', 'build'))) -%}
    {%- if not last.is_done -%}
        {%- set start -%}
            select
                customer_id,
                absorbed_by_customer_id,
                coalesce(absorbed_by_customer_id, customer_id) as reached_customer_id,
                case
                    when absorbed_by_customer_id is not null
                        then struct(absorbed_at, absorbed_by_customer_id, customer_id)
                end as latest_merge
            from {{ latest }}
        {%- endset -%}
        {%- do write_table(tables[0], start) -%}
    {%- endif -%}
    {%- for doubling in range(1, 64) if not last.is_done -%}
        {%- set doubled -%}
            select
                near.customer_id,
                near.absorbed_by_customer_id,
                far.reached_customer_id,
                greatest(near.latest_merge, far.latest_merge) as latest_merge
            from {{ last.table }} as near
            inner join {{ last.table }} as far
                on near.reached_customer_id = far.customer_id
        {%- endset -%}
        {%- set table = tables[doubling % 2] -%}
        {%- do write_table(table, doubled) -%}
        {%- set on_the_way -%}
            select count(*)
            from {{ table }} as hops
            inner join {{ latest }} as reached
                on hops.reached_customer_id = reached.customer_id
            where reached.absorbed_by_customer_id is not null
        {%- endset -%}
        {%- set count = run_query(on_the_way).rows[0][0] -%}
        {%- set last.is_done = count == 0 or count == last.on_the_way and 2 ** doubling >= count -%}
        {%- set last.on_the_way = count -%}
        {%- set last.table = table -%}
    {%- endfor %}
resolved as (

    select
        hops.customer_id,
        case
            when reached.absorbed_by_customer_id is null then reached.customer_id
            else reached.latest_merge.absorbed_by_customer_id
        end as canonical_customer_id
    from {{ last.table }} as hops
    inner join {{ last.table }} as reached
        on hops.reached_customer_id = reached.customer_id

),
{% endmacro %}
