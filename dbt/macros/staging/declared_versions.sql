{#-
    How the current versions of landing tables are chosen, as a list of {feed, entity, staging, key, order, where, distinct,
    columns}, from `current_version` in each table's meta. `columns` are those of its staging model without provenance. The list is
    empty while dbt parses.
-#}
{% macro declared_versions() %}
    {%- set versions = [] -%}
    {%- for table in landing_tables() if execute and table.models -%}
        {%- set declared = declared_table(table.feed, table.entity).config.meta.current_version -%}
        {%- set staging = 'stg_' ~ table.feed ~ '__' ~ table.entity -%}
        {%- do versions.append({
            'feed': table.feed,
            'entity': table.entity,
            'staging': staging,
            'key': declared.key,
            'order': declared.order or ['_batch_id desc', '_row_id desc'],
            'where': declared.where or 'true',
            'distinct': declared.distinct or [],
            'columns': graph.nodes['model.granary.' ~ staging].columns | reject('in', ['_batch_id', '_row_id']) | list,
        }) -%}
    {%- endfor -%}
    {{ return(versions) }}
{% endmacro %}
