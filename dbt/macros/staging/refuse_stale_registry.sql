{#-
    Stops a run if the registry (the var `feeds`) differs from the declared landing tables: a table that is declared but not
    registered would be staged, but missing from all rejections, audits and reconciliations.
-#}
{% macro refuse_stale_registry() %}
    {%- if execute -%}
        {%- set registered = {} -%}
        {%- for feed, entities in (var('feeds') or {}).items() -%}
            {%- for entity, models in entities.items() -%}
                {%- do registered.update({feed ~ '.' ~ entity: models}) -%}
            {%- endfor -%}
        {%- endfor -%}
        {%- set declared = {} -%}
        {%- for table in graph.sources.values() if table.loader == 'bin/ingest' -%}
            {%- set name = table.source_name ~ '.' ~ table.name -%}
            {%- do declared.update({name: registered.get(name) if name in broken_tables() else models_read_of(table)}) -%}
        {%- endfor -%}
        {%- set differing = [] -%}
        {%- for table in (registered.keys() | list + declared.keys() | list) | unique | sort
            if registered.get(table) != declared.get(table) -%}
            {%- do differing.append(table) -%}
        {%- endfor -%}
        {%- if differing -%}
            {{ exceptions.raise_compiler_error(
                "dbt_project.yml: the var `feeds` differs from the declared sources for " ~ differing | join(", ")
                ~ ". Update it: bin/feed sync"
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}


{#- The models of a landing table that the core reads, according to the table's meta: for current versions and for amounts. -#}
{% macro models_read_of(table) %}
    {%- set meta = table.config.meta -%}
    {%- if meta.amounts and not meta.current_version -%}
        {{ exceptions.raise_compiler_error(
            table.original_file_path ~ ", table " ~ table.name ~ " declares `amounts`, which also need a `current_version`"
        ) }}
    {%- endif -%}
    {%- set models = [meta.current_version.model] if meta.current_version else [] -%}
    {%- for amount in meta.amounts or [] -%}
        {%- for step in amount.marts or [{}] -%}
            {%- do models.append(step.mart or step.without) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if models | select('string') | list != models -%}
        {{ exceptions.raise_compiler_error(
            table.original_file_path ~ ", table " ~ table.name ~ ": not a valid meta: `current_version` needs a `model`,"
            ~ " and each of `amounts` needs `marts`, each with a `mart` or `without`"
        ) }}
    {%- endif -%}
    {{ return(models | unique | list) }}
{% endmacro %}
