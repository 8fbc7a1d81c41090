{#-
    Condition that is true if something happened on a later day, in UTC, than it was delivered, which can't be. Not known without
    the batch in the ledger: then it is false.

    happened_at: SQL expression of a timestamp in UTC
    delivered_at: SQL expression of the time of the delivery, with its time zone
-#}
{% macro is_dated_after_delivery(happened_at, delivered_at) -%}
    {{ return(adapter.dispatch('is_dated_after_delivery', 'granary')(happened_at, delivered_at)) }}
{%- endmacro %}

{# How a time with a zone becomes one in UTC differs from engine to engine. #}
{% macro default__is_dated_after_delivery(happened_at, delivered_at) -%}
    coalesce(cast({{ happened_at }} as date) > cast({{ delivered_at }} at time zone 'UTC' as date), false)
{%- endmacro %}
