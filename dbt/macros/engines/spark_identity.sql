{#-
    The walks of identity on Spark. It writes a CTE out wherever it is named, so 24 doublings would be 16 million joins, and each
    level of a recursion is a job of its own. Here each doubling is a statement, whose result is a table beside the model's.
-#}

{#-
    The CTE `resolved`, with the end of the pointers of each customer: customer_id and canonical_customer_id. See
    int_identity__resolved_customers for what they mean.

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


{#-
    The query of int_identity__connected_customers: each customer with undone merges, and the group that these connect. In each
    round, customers hook onto their lowest neighbour, pointers are followed to their roots, and edges between roots remain.
-#}
{% macro spark_connected_customers() %}
    {%- set undone = ref('int_identity__undone_merges') -%}
    {%- set edges, roots, groups = beside('edges'), beside('roots'), [beside('groups_even'), beside('groups_odd')] -%}
    {%- set last = namespace(groups=groups[0], edges=0, round=0) -%}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {%- set pairs -%}
            select canonical_customer_id as near_customer_id, separated_customer_id as far_customer_id from {{ undone }}
            union
            select separated_customer_id as near_customer_id, canonical_customer_id as far_customer_id from {{ undone }}
        {%- endset -%}
        {#- Ids whose order has nothing to do with that of the customers' own, or a chain of rising ids would take as many rounds. -#}
        {%- do write_table(
            edges, 'select md5(near_customer_id) || near_customer_id as near, md5(far_customer_id) || far_customer_id as far from ('
            ~ pairs ~ ')'
        ) -%}
        {%- do write_table(groups[0], 'select distinct near as customer, near as root from ' ~ edges) -%}
        {%- set last.edges = run_query('select count(*) from ' ~ edges).rows[0][0] -%}
    {%- endif -%}
    {%- for round in range(1, 64) if last.edges -%}
        {%- do write_table(roots, 'select near as customer, least(near, min(far)) as root from ' ~ edges ~ ' group by near') -%}
        {%- set hops = namespace(left=1) -%}
        {%- for hop in range(64) if hops.left -%}
            {%- set followed -%}
                select near.customer, far.root
                from {{ roots }} as near
                inner join {{ roots }} as far on near.root = far.customer
            {%- endset -%}
            {%- do write_table(beside('followed'), followed) -%}
            {%- set hops.left = run_query(
                'select count(*) from ' ~ beside('followed') ~ ' as new inner join ' ~ roots
                ~ ' as old on new.customer = old.customer where new.root <> old.root'
            ).rows[0][0] -%}
            {%- do write_table(roots, 'select * from ' ~ beside('followed')) -%}
        {%- endfor -%}
        {%- do write_table(
            groups[round % 2],
            'select groups.customer, coalesce(roots.root, groups.root) as root from ' ~ last.groups ~ ' as groups left join ' ~ roots
            ~ ' as roots on groups.root = roots.customer'
        ) -%}
        {%- set last.groups = groups[round % 2] -%}
        {%- do write_table(
            beside('followed'),
            'select distinct near.root as near, far.root as far from ' ~ edges ~ ' as edges inner join ' ~ roots
            ~ ' as near on edges.near = near.customer inner join ' ~ roots ~ ' as far on edges.far = far.customer'
            ~ ' where near.root <> far.root'
        ) -%}
        {%- do write_table(edges, 'select * from ' ~ beside('followed')) -%}
        {%- set last.edges = run_query('select count(*) from ' ~ edges).rows[0][0] -%}
    {%- endfor %}
select
    substring(customer, 33) as customer_id,
    substring(root, 33) as connected_group_id
from {{ last.groups }}
{% endmacro %}


{#- A table beside the model that is being built, for what it computes on the way. -#}
{% macro beside(name) %}
    {{ return(this.incorporate(path={'identifier': this.identifier ~ '__' ~ name})) }}
{% endmacro %}


{#- Writes a table, in place of the one before. -#}
{% macro write_table(relation, query) %}
    {%- if has_open_tables() -%}
        {%- do run_query('create or replace table ' ~ relation ~ ' using delta as ' ~ query) -%}
    {%- else -%}
        {%- do run_query('drop table if exists ' ~ relation) -%}
        {%- do run_query('create table ' ~ relation ~ ' using parquet as ' ~ query) -%}
    {%- endif -%}
{% endmacro %}
