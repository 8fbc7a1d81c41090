{#-
    What the source's YAML declares of a landing table, as a list of {name, parse, required}.

    The declaration is the one place that says what a column must be. Each column's `meta` holds
        parse     text (the default) or another name for which there is a macro parse_<name>
        required  true where a row without a value that parses must not be used (default false)

    feed, entity: names of the source and its table
-#}
{% macro declared_columns(feed, entity) %}
    {%- set table = graph.sources.values()
        | selectattr('source_name', 'equalto', feed) | selectattr('name', 'equalto', entity) | first -%}
    {%- set declared = [] -%}
    {%- for column in table.columns.values() -%}
        {%- do declared.append({
            'name': column.name,
            'parse': column.config.meta.get('parse', 'text'),
            'required': column.config.meta.get('required', false),
        }) -%}
    {%- endfor -%}
    {{ return(declared) }}
{% endmacro %}


{#- The expression that parses a declared column from an expression of its cleaned text. -#}
{% macro parse_column(column, value) -%}
    {%- set parser = context.get('parse_' ~ column.parse) -%}
    {%- if parser is none -%}
        {{ exceptions.raise_compiler_error(
            "Source column " ~ column.name ~ " declares `parse: " ~ column.parse ~ "`, and there is no macro parse_" ~ column.parse
            ~ ". See macros/parsing for those there are."
        ) }}
    {%- endif -%}
    {{ parser(value) }}
{%- endmacro %}


{#- Batches whose rows are not used: their path was delivered again with other bytes (bin/ingest --replace). -#}
{% macro replaced_batches() -%}
    (select batch_id from {{ source('ledger', '_batches') }} where status = 'replaced')
{%- endmacro %}
