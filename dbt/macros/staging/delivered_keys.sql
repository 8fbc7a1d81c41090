{#-
    One row per delivered row of a landing table whose key can be read, with a hash of the key, and whether staging holds the row.
    It shows which later row brings the key of a rejected one.

    The key is the `delivered_key` of the table's `current_version`: a list of delivered columns, and of {macro, columns} where
    staging derives a part of the key; `_brand` is the brand. By default it is `key`, which is right if staging neither renames nor
    derives any of it. A key with a column that the source doesn't declare can't be read, so there are no rows.

    feed, entity: names of the source and its table
-#}
{% macro delivered_keys(feed, entity) %}
    {%- set columns = declared_columns(feed, entity) if execute else [] -%}
    {%- set names = columns | map(attribute='name') | list -%}
    {%- set version = declared_table(feed, entity).config.meta.get('current_version') or {} if execute else {} -%}
    {%- set key = version.get('delivered_key', version.key) or [] -%}
    {%- set hashes, is_known = [], [] -%}
    {%- set own = ['_brand'] if execute and has_brands(feed, entity) else [] -%}
    {%- for part in key if part is mapping or part in names + own -%}
        {%- set value = declared_sql(part, 'parsed') if part is mapping else 'batches.brand' if part in own
            else column_in('parsed', part) -%}
        {%- do hashes.append(dbt.hash(value)) -%}
        {%- do is_known.append(value ~ ' is not null') -%}
    {%- endfor -%}
    {%- set is_rejected = checks_of(columns) | selectattr('severity', 'equalto', 'row') | map(attribute='fails') | join(' or ') -%}
    {%- if hashes and hashes | length == key | length %}
    select
        '{{ feed }}' as feed,
        '{{ entity }}' as entity,
        {{ hashes | join(' || ') }} as delivered_key,
        not coalesce({{ is_rejected or 'false' }}, false) as is_staged,
        delivered._batch_id,
        delivered._row_id
    {{ delivered_rows(feed, entity, columns) }}
    {{ join_brands(feed, entity) }}
    where
        delivered._batch_id not in {{ replaced_batches() }}
        and {{ is_known | join(' and ') }}
    union all
    {%- endif %}
{% endmacro %}
