{#-
    The latest date that the data of a feed can have, as a scalar subquery: the date of its newest delivery; null if nothing was
    loaded. Whatever is reported as of a day, or has a row per day, ends there at the latest. A row that is dated later is
    implausible: it stays in the facts, but no report may end with it. The date is that of the ledger, so a full refresh gives
    the same result.

    feed: name of the feed
-#}
{% macro newest_delivery_date(feed) -%}
    (select newest_delivery_date from {{ ref('int_quality__newest_deliveries') }} where feed = '{{ feed }}')
{%- endmacro %}
