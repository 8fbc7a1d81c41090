{#-
    The landing tables of all feeds, as a list of {feed, entity, models}, from the registry (the var `feeds`): `models` are the
    table's models that the core reads. The first, if any, holds its current versions.
-#}
{% macro landing_tables() %}
    {%- set tables = [] -%}
    {%- for feed, entities in (var('feeds') or {}).items() -%}
        {%- for entity, models in entities.items() -%}
            {%- do tables.append({'feed': feed, 'entity': entity, 'models': models}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(tables) }}
{% endmacro %}
