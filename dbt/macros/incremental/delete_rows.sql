{#-
    A hook that deletes rows of {{ this }} that a batch has left without content. After a full build there are none.

    condition: SQL condition that is true for them
-#}
{% macro delete_rows(condition) -%}
    {%- if is_incremental() -%}
    delete from {{ this }} where {{ condition }}
    {%- endif -%}
{%- endmacro %}


{#-
    A hook that deletes rows of {{ this }} whose key is not, or no longer, in another relation. After a full build there are none.

    key: column that both have
    relation: the relation with the keys that are kept
-#}
{% macro delete_rows_without(key, relation) -%}
    {%- if is_incremental() -%}
    {{ adapter.dispatch('delete_rows_without', 'granary')(key, relation) }}
    {%- endif -%}
{%- endmacro %}

{% macro default__delete_rows_without(key, relation) -%}
    delete from {{ this }} where {{ key }} not in (select {{ key }} from {{ relation }})
{%- endmacro %}
