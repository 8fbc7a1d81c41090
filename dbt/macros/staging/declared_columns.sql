{#-
    The columns that the source's YAML declares for a landing table, as a list of {name, parse, default, required, must,
    should}.

    The declaration is the single definition of a column. Each column's `meta` holds
        parse     text (the default) or the name of another macro parse_<name>
        default   the meaning of an empty value, as text (default: null)
        required  true to reject a row without a valid value (default: false)
        optional  true if a file may lack the column, which is null then (default: false); only bin/ingest reads it
        nulls     the texts that mean nothing in this column (default: those of the table, the source or the project)
        format    how dates and times are spelled, such as DD.MM.YYYY, or a list of such formats: see iso_8601
        timezone  the zone of times without an offset, such as Europe/Berlin (default: UTC): see local_to_utc
        timezone_from  the column that has the name of this zone: see zone_name
        offset_from    the column that has the offset of such times: see with_offset
        decimal   the decimal mark of amounts and numbers: see plain_number
        minor_units    decimals of the unit, where amounts are whole numbers of its parts: 2 for cents, `currency` for those of its currency
        scale     how many decimals an amount may have (default: 2)
        currency  the ISO 4217 code of amounts that name none, or null if each has to name its own. Staging has the currency of each
                  amount in <column>_currency, unless a delivered column has this name
        currency_from  the column that has this code
        currency_signs  codes by the signs that stand for them in this column, in addition to the var of that name
        must      a condition on the parsed values, with columns in braces: {price} > 0. A value is invalid if the
                  condition is false; if it is null, because another value is missing, the value is accepted
        should    a condition like `must` for what is odd, but possible: a value for which it is false is kept, listed in
                  marts.implausible_values, and warned about. It can also name {delivered_on}, the day of the delivery
        personal  what the column holds of a person: email, name, id or text; only bin/forget reads it

    feed, entity: names of the source and its table
-#}
{% macro declared_columns(feed, entity) %}
    {%- set declared = [] -%}
    {%- set problem = broken_tables().get(feed ~ '.' ~ entity) -%}
    {%- if problem -%}
        {{ exceptions.raise_compiler_error(problem) }}
    {%- endif -%}
    {%- set table = declared_table(feed, entity) -%}
    {%- for column in table.columns.values() -%}
        {%- set meta, spelling = column.config.meta, {} -%}
        {%- for setting in ('format', 'offset_from', 'decimal', 'minor_units', 'currency', 'currency_from') if meta.get(setting) -%}
            {%- do spelling.update({setting: meta[setting]}) -%}
        {%- endfor -%}
        {%- set has_currency = 'currency' in meta or 'currency_from' in meta -%}
        {%- if has_currency -%}
            {%- do spelling.update({'signs': dict(var('currency_signs'), **(meta.get('currency_signs') or {}))}) -%}
        {%- endif -%}
        {%- do declared.append({
            'spelling': spelling,
            'has_currency': has_currency,
            'adds_currency': has_currency and column.name ~ '_currency' not in table.columns,
            'scale': meta.get('scale'),
            'timezone': meta.get('timezone'),
            'timezone_from': meta.get('timezone_from'),
            'nulls': column.config.meta.get('nulls', table.config.meta.get('nulls')),
            'name': column.name,
            'parse': column.config.meta.get('parse') or 'text',
            'default': column.config.meta.get('default'),
            'required': column.config.meta.get('required', false),
            'must': column.config.meta.get('must'),
            'should': column.config.meta.get('should'),
        }) -%}
    {%- endfor -%}
    {{ return(declared) }}
{% endmacro %}

