{#-
    The amounts of money that the sources declare, to be reconciled from the files to the marts, as a list of
    {feed, entity, staging, versions} together with the entries of `amounts` in the table's meta:

        amounts:
          - measure: paid                   # name of the amount, unique in the feed
            title: What was paid
            delivered: "{amount}"           # SQL over the delivered columns, in braces
            staged: "{amount_usd}"          # the same over the columns of staging, which the versions have too
            marts:                          # the marts that it reaches, in order: each must have the same sum
              - {mart: fct_payments, amount: sum(amount_usd), rows: count(*)}   # `rows` is optional
              # Deducts the rows of the previous mart whose invoice_id is not in fct_invoices.
              - {without: fct_invoices, key: invoice_id, step: without_invoice, title: paid for invoices that never came}
              - {mart: fct_invoices, amount: sum(paid_usd)}

    `delivered` and `staged` may also name a macro of the feed that returns the SQL for the given columns:
    {macro: worth_of, columns: [quantity, unit_price_usd]}. The list is empty while dbt parses.
-#}
{% macro declared_amounts() %}
    {%- set amounts = [] -%}
    {%- for table in reconciled_tables() if execute -%}
        {%- for amount in declared_table(table.feed, table.entity).config.meta.amounts or [] -%}
            {%- do amounts.append(dict(amount, **table)) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(amounts) }}
{% endmacro %}


{#- The landing tables with amounts. They come from the registry, so dbt knows the marts that are read when it parses. -#}
{% macro reconciled_tables() %}
    {%- set tables = [] -%}
    {%- for table in landing_tables() if table.models | length > 1 -%}
        {%- do tables.append(dict(table, staging='stg_' ~ table.feed ~ '__' ~ table.entity, versions=table.models[0])) -%}
    {%- endfor -%}
    {{ return(tables) }}
{% endmacro %}


{#-
    The SQL expression that a source declares for an amount or a part of a key.

    declared: SQL with columns in braces, or a mapping {macro, columns}
    rows: alias of the relation with the columns
-#}
{% macro declared_sql(declared, rows) -%}
    {%- if declared is string -%}
        {{ columns_in(rows, declared) }}
    {%- elif declared.macro not in context -%}
        {{ exceptions.raise_compiler_error(
            "A source names the macro " ~ declared.macro ~ ", which does not exist: add it to the feed's macros, or correct the name."
        ) }}
    {%- else -%}
        {%- set columns = [] -%}
        {%- for column in declared.columns -%}
            {%- do columns.append(column_in(rows, column)) -%}
        {%- endfor -%}
        {{ context[declared.macro](*columns) }}
    {%- endif -%}
{%- endmacro %}


{#- The columns from which it is computed. -#}
{% macro columns_of_amount(declared) %}
    {{ return(modules.re.findall('{(.+?)}', declared) if declared is string else declared.columns) }}
{% endmacro %}
