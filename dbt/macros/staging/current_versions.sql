{#-
    Which delivered version of each entity counts, as a list of
        feed, entity    source and table; staging is stg_<feed>__<entity>
        model           where the versions that count are
        is_current      true where that model keeps the others as well, told apart by `is_current`
        key             columns of staging of which one version counts
        latest          the version that counts is the first in this order
        eligible        what a row of staging must be to count at all, as a condition
    The models say it in SQL, each for itself; here it is said once more, for all of them, so that tests can compare the two.
-#}
{% macro current_versions() %}
    {%- set by_delivery = '_batch_id desc, _row_id desc' -%}
    {%- set entities = [
        {'feed': 'courses', 'entity': 'users', 'model': 'int_courses__users', 'key': 'user_id',
            'latest': 'user_updated_at desc nulls last, ' ~ by_delivery},
        {'feed': 'courses', 'entity': 'courses', 'model': 'int_courses__courses', 'key': 'course_id'},
        {'feed': 'courses', 'entity': 'enrolments', 'model': 'int_courses__enrolments', 'key': 'enrolment_id'},
        {'feed': 'courses', 'entity': 'events', 'model': 'int_courses__events', 'key': 'course_event_id'},
        {'feed': 'market', 'entity': 'coin_markets_snapshot', 'model': 'int_market__snapshots',
            'key': 'asset_id, snapshot_at'},
        {'feed': 'market', 'entity': 'coin_price_history', 'model': 'int_market__daily_prices',
            'key': 'asset_id, price_date', 'eligible': 'is_close'},
        {'feed': 'shop', 'entity': 'customers', 'model': 'int_shop__customers', 'key': 'customer_id'},
        {'feed': 'shop', 'entity': 'products', 'model': 'int_shop__products', 'key': 'product_id'},
        {'feed': 'shop', 'entity': 'orders', 'model': 'int_shop__order_line_versions', 'is_current': true,
            'key': 'order_id, product_id, is_return'},
        {'feed': 'tickets', 'entity': 'accounts', 'model': 'int_tickets__accounts', 'key': 'account_id'},
        {'feed': 'tickets', 'entity': 'events', 'model': 'int_tickets__events', 'key': 'event_id'},
        {'feed': 'tickets', 'entity': 'showtimes', 'model': 'int_tickets__showtime_versions', 'is_current': true,
            'key': 'showtime_id'},
        {'feed': 'tickets', 'entity': 'orders', 'model': 'int_tickets__order_versions', 'is_current': true,
            'key': 'order_id'},
        {'feed': 'tickets', 'entity': 'transactions', 'model': 'int_tickets__transaction_versions', 'is_current': true,
            'key': 'transaction_id'},
        {'feed': 'tickets', 'entity': 'pages', 'model': 'int_tickets__pages', 'key': 'page_id'},
        {'feed': 'tickets', 'entity': 'identity_merges', 'model': 'int_tickets__identity_merges', 'key': '_row_id'},
    ] -%}
    {%- set complete = [] -%}
    {%- for entity in entities -%}
        {%- do complete.append(dict({'is_current': false, 'latest': by_delivery, 'eligible': 'true'}, **entity)) -%}
    {%- endfor -%}
    {{ return(complete) }}
{% endmacro %}
