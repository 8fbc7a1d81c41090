{#- The landing tables of all feeds, as a list of {feed, entity}: the sources whose loader is bin/ingest. Empty while dbt parses. -#}
{% macro landing_tables() %}
    {%- set tables = [] -%}
    {%- for table in (graph.sources.values() if execute else []) if table.loader == 'bin/ingest' -%}
        {%- do tables.append({'feed': table.source_name, 'entity': table.name}) -%}
    {%- endfor -%}
    {{ return(tables) }}
{% endmacro %}
