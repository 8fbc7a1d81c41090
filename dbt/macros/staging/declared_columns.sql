{#-
    The columns that the source's YAML declares for a landing table, as a list of {name, parse, default, required, must,
    should}.

    The declaration is the single definition of a column. Each column's `meta` holds
        parse     text (the default) or the name of another macro parse_<name>
        default   the meaning of an empty value, as text (default: null)
        required  true to reject a row without a valid value (default: false)
        optional  true if a file may lack the column, which is null then (default: false); only bin/ingest reads it
        must      a condition on the parsed values, with columns in braces: {price} > 0. A value is invalid if the
                  condition is false; if it is null, because another value is missing, the value is accepted
        should    a condition like `must` for what is odd, but possible: a value for which it is false is kept, listed in
                  marts.implausible_values, and warned about. It can also name {delivered_on}, the day of the delivery

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
            'should': column.config.meta.get('should'),
        }) -%}
    {%- endfor -%}
    {{ return(declared) }}
{% endmacro %}

