{#-
    An address without its tag: what follows a plus in front of the @. Many providers deliver both to the same mailbox, and some don't.

    email: SQL expression of an address in lower case
-#}
{% macro email_without_tag(email) -%}
    regexp_replace({{ email }}, '[+][^@]*@', '@')
{%- endmacro %}


{#- What stands in front of the @ of an address. -#}
{% macro mailbox_of(email) -%}
    regexp_replace({{ email }}, '@.*$', '')
{%- endmacro %}
