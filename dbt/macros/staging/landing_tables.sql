{#-
    The landing tables of all feeds, as a list of {feed, entity, models}, from the registry (the var `feeds`): `models` are the
    table's models that the core reads. The first, if any, holds its current versions.

    A table whose declaration is broken is left out, and so are the models of its feed: what is wrong in one feed must not cost
    the others the models of the core, which read all of them.
-#}
{% macro landing_tables() %}
    {%- set tables = [] -%}
    {%- set broken = broken_tables() -%}
    {%- set broken_feeds = [] -%}
    {%- for name in broken -%}
        {%- do broken_feeds.append(name.split('.')[0]) -%}
    {%- endfor -%}
    {%- for feed, entities in (var('feeds') or {}).items() -%}
        {%- for entity, models in entities.items() if feed ~ '.' ~ entity not in broken -%}
            {%- do tables.append({'feed': feed, 'entity': entity, 'models': [] if feed in broken_feeds else models}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(tables) }}
{% endmacro %}


{#- What is wrong with declared tables, by <feed>.<entity>. bin/dbt finds it out (scripts/granary/rules.py) before dbt runs. -#}
{% macro broken_tables() %}
    {{ return(fromjson(env_var('GRANARY_BROKEN_TABLES', '{}'))) }}
{% endmacro %}
