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
