{#-
    The amounts of money that the sources declare, which are followed from the files to the marts, as a list of
    {feed, entity, staging, versions} and what the `amounts` of the table's meta hold:

        amounts:
          - measure: paid                   # its name, which no other amount of the feed has
            title: What was paid
            delivered: "{amount}"           # SQL over the delivered columns, in braces
            staged: "{amount_usd}"          # the same over the columns of staging, which its versions have, too
            marts:                          # where it ends, in this order: each must come to the same sum
              - {mart: fct_payments, amount: sum(amount_usd), rows: count(*)}   # `rows` may be missing
              # Rows of the mart before whose invoice_id is not in fct_invoices: their amount is taken away first.
              - {without: fct_invoices, key: invoice_id, step: without_invoice, title: paid for invoices that never came}
              - {mart: fct_invoices, amount: sum(paid_usd)}

    `delivered` and `staged` may also name a macro of the feed that makes the SQL of some columns:
    {macro: worth_of, columns: [quantity, unit_price_usd]}. The list is empty while dbt parses.
-#}
{% macro declared_amounts() %}
    {%- set amounts = [] -%}
    {%- for table in reconciled_tables() if execute -%}
        {%- for amount in declared_table(table.feed, table.entity).config.meta.amounts -%}
            {%- do amounts.append(dict(amount, **table)) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(amounts) }}
{% endmacro %}


{#- The landing tables with amounts: the core reads marts of them. Known while dbt parses, so that it sees what is read. -#}
{% macro reconciled_tables() %}
    {%- set tables = [] -%}
    {%- for table in landing_tables() if table.models | length > 1 -%}
        {%- do tables.append(dict(table, staging='stg_' ~ table.feed ~ '__' ~ table.entity, versions=table.models[0])) -%}
    {%- endfor -%}
    {{ return(tables) }}
{% endmacro %}


{#-
    The SQL of an amount, and the columns that it is made of.

    declared: SQL with columns in braces, or a mapping {macro, columns}
    rows: alias of the rows that have the columns
-#}
{% macro amount_of(declared, rows) -%}
    {%- if declared is string -%}
        {{ declared | replace('{', rows ~ '.') | replace('}', '') }}
    {%- elif declared.macro not in context -%}
        {{ exceptions.raise_compiler_error(
            "A source declares an amount by the macro " ~ declared.macro ~ ", and there is no such macro."
        ) }}
    {%- else -%}
        {%- set columns = [] -%}
        {%- for column in declared.columns -%}
            {%- do columns.append(rows ~ '.' ~ column) -%}
        {%- endfor -%}
        {{ context[declared.macro](*columns) }}
    {%- endif -%}
{%- endmacro %}

{% macro columns_of_amount(declared) %}
    {{ return(modules.re.findall('{(.+?)}', declared) if declared is string else declared.columns) }}
{% endmacro %}
