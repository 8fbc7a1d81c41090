{#-
    The sources that stand for brands (`feeds` in their meta), as a list of {feed, feeds, schemas, entities}: the patterns of folders
    and of schemas, and the names of the source's tables. The list is empty while dbt parses.
-#}
{% macro declared_brands() %}
    {%- set sources = {} -%}
    {%- for table in landing_tables() if execute and has_brands(table.feed, table.entity) -%}
        {%- set meta = declared_table(table.feed, table.entity).config.meta -%}
        {%- do sources.setdefault(
            table.feed, {'feed': table.feed, 'feeds': meta.feeds, 'schemas': meta.get('schemas'), 'entities': []}
        ).entities.append(table.entity) -%}
    {%- endfor -%}
    {{ return(sources.values() | list) }}
{% endmacro %}


{#-
    True if brands deliver to a landing table. Then the ledger knows the brand of each batch, and the table has the column _extra.

    feed, entity: names of the source and its table
-#}
{% macro has_brands(feed, entity) %}
    {#- dbt gives unit tests no graph. -#}
    {%- set table = declared_table(feed, entity) if execute and graph.get('sources') -%}
    {{ return(table and table.config.meta.get('feeds') is not none) }}
{% endmacro %}


{#- The join of the rows of delivered_rows to their `batches` in the ledger, which have the brand; nothing for other tables. -#}
{% macro join_brands(feed, entity) -%}
    {%- if has_brands(feed, entity) -%}
    inner join {{ source('ledger', '_batches') }} as batches
        on delivered._batch_id = batches.batch_id
    {%- endif -%}
{%- endmacro %}
