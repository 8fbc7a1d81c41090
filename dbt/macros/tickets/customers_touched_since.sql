{#-
    Customers whose group may have changed since this model was built last, one row per customer: those of groups with merges
    after a watermark, those of groups with a merge that is ignored now, and those of groups with a merge that was ignored
    then. An override has no batch, and one that is taken back leaves no trace in the input: what this model remembers in
    `has_ignored_merge` takes the place of a watermark. Overrides are few, so it costs little to look at them each time.

    customers: the input: a relation with customer_id, has_ignored_merge and _merges_batch_id
    merges_watermark: batch up to which this model has taken in its merges: see watermark()
-#}
{% macro customers_touched_since(customers, merges_watermark) %}
    select touched.customer_id
    from {{ customers }} as touched
    where
        touched.has_ignored_merge
        or touched._merges_batch_id > {{ merges_watermark }}

    union

    select known.customer_id
    from {{ this }} as known
    where known.has_ignored_merge
{% endmacro %}
