{#-
    Customers whose group may have changed since this model's watermark, one row per customer: members of groups with later
    merges, with a merge that is ignored now, or with a merge that was ignored when this model was last built. An override has no
    batch, and a removed override leaves no trace in the input, so the model's own `has_ignored_merge` serves as its watermark.
    There are few overrides, so checking them every time costs little.

    customers: relation with customer_id, has_ignored_merge and _changed_batch_id
-#}
{% macro changed_customers(customers) %}
    select changed.customer_id
    from {{ customers }} as changed
    where
        changed.has_ignored_merge
        or changed._changed_batch_id > {{ watermark() }}

    union

    select known.customer_id
    from {{ this }} as known
    where known.has_ignored_merge
{% endmacro %}
