{#-
    Customers whose group may have changed after this model's watermark, one row per customer: those of groups with later
    merges, those of groups with a merge that is ignored now, and those of groups with a merge that was ignored when this
    model was built last. An override has no batch, and one that is taken back leaves no trace in the input: what this model
    remembers in `has_ignored_merge` takes the place of a watermark. Overrides are few, so it costs little to look at them
    each time.

    customers: the input: a relation with customer_id, has_ignored_merge and _changed_batch_id
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
