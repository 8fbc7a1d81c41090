{#-
    Stops a run if the registry (the var `feeds`) and the declared landing tables differ: a table that is declared but not
    registered would be staged, and missing from every rejection, audit and reconciliation.
-#}
{% macro refuse_stale_registry() %}
    {%- if execute -%}
        {%- set registered = {} -%}
        {%- for table in landing_tables() -%}
            {%- do registered.update({table.feed ~ '.' ~ table.entity: table.models}) -%}
        {%- endfor -%}
        {%- set declared = {} -%}
        {%- for table in graph.sources.values() if table.loader == 'bin/ingest' -%}
            {%- do declared.update({table.source_name ~ '.' ~ table.name: models_read_of(table)}) -%}
        {%- endfor -%}
        {%- set differing = [] -%}
        {%- for table in (registered.keys() | list + declared.keys() | list) | unique | sort
            if registered.get(table) != declared.get(table) -%}
            {%- do differing.append(table) -%}
        {%- endfor -%}
        {%- if differing -%}
            {{ exceptions.raise_compiler_error(
                "dbt_project.yml: the var `feeds` is not what the sources declare of " ~ differing | join(", ")
                ~ ". Write it again: bin/feed sync"
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}


{#- The models that the core reads of a landing table, as its meta says: that of its current versions, and those of its amounts. -#}
{% macro models_read_of(table) %}
    {%- set meta = table.config.meta -%}
    {%- if meta.amounts and not meta.current_version -%}
        {{ exceptions.raise_compiler_error(
            table.original_file_path ~ ": " ~ table.name ~ " declares `amounts`, which need a `current_version`"
        ) }}
    {%- endif -%}
    {%- set models = [meta.current_version.model] if meta.current_version else [] -%}
    {%- for amount in meta.get('amounts', []) -%}
        {%- for step in amount.marts -%}
            {%- do models.append(step.mart or step.without) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(models | unique | list) }}
{% endmacro %}
