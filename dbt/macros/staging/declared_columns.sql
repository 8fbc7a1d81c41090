{#-
    What the source's YAML declares of a landing table, as a list of {name, parse, default, required, must}.

    The declaration is the one place that says what a column must be. Each column's `meta` holds
        parse     text (the default) or another name for which there is a macro parse_<name>
        default   what an empty value means, as text (default: null)
        required  true where a row without a valid value is rejected (default false)
        must      a condition on the parsed values, with columns in braces: {price} > 0. A value for which it is false is
                  not valid; where it is null, because another value is missing, nothing can be said against it

    feed, entity: names of the source and its table
-#}
{% macro declared_columns(feed, entity) %}
    {%- set declared = [] -%}
    {%- for column in declared_table(feed, entity).columns.values() -%}
        {%- do declared.append({
            'name': column.name,
            'parse': column.config.meta.get('parse', 'text'),
            'default': column.config.meta.get('default'),
            'required': column.config.meta.get('required', false),
            'must': column.config.meta.get('must'),
        }) -%}
    {%- endfor -%}
    {{ return(declared) }}
{% endmacro %}

