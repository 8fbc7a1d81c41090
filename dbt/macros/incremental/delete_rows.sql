{#-
    A hook that deletes rows of {{ this }} that a batch has left without content. After a full build there are none.

    condition: SQL condition that is true for them
-#}
{% macro delete_rows(condition) -%}
    {%- if is_incremental() -%}
    delete from {{ this }} where {{ condition }}
    {%- endif -%}
{%- endmacro %}
