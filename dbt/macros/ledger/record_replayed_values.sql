{#-
    Writes the rejections that changed rules have healed to raw._replayed_values: those of {{ this }}, which is about to be
    rebuilt, whose row is staged by now, and whose value is no longer rejected. A full refresh would forget them otherwise. Where
    {{ this }} was built from another ledger, its rows are others.

    A hook of int_quality__rejections, before it is built.
-#}
{% macro record_replayed_values() %}
    {%- set tables = landing_tables() -%}
    {%- set needed = [
        'rejection_id', 'feed', 'entity', 'severity', 'column_name', 'delivered_value', 'reason', 'explanation', 'file_path',
        'line_number', '_batch_id', '_row_id',
    ] -%}
    {%- set existing = load_relation(this) if execute and tables and not is_incremental() -%}
    {%- if existing and this.identifier in run_query(models_of_another_ledger()).columns[0].values() -%}
        {%- set existing = none -%}
    {%- endif -%}
    {%- set columns = adapter.get_columns_in_relation(existing) | map(attribute='name') | list if existing else [] -%}
    {%- if existing and not (needed | reject('in', columns) | list) %}
    insert into {{ raw_schema() }}._replayed_values ({{ needed | join(', ') | replace('_batch_id, _row_id', 'batch_id, row_id') }}, replayed_at)
    select
        {{ needed | join(', ') }},
        current_timestamp as replayed_at
    from {{ existing }} as rejections
    where
        reason <> 'replaced_batch'
        and feed || '.' || entity in (
            {%- for table in tables %}'{{ table.feed }}.{{ table.entity }}'{{ ', ' if not loop.last }}{% endfor -%}
        )
        and _batch_id in (select batch_id from {{ raw_schema() }}._batches where status = 'loaded')
        and _row_id is not null
        and not exists (
            select 1 from {{ ref('stg_ledger__rejected_values') }} as still_rejected
            where
                rejections._row_id = still_rejected._row_id
                and (still_rejected.severity = 'row' or rejections.column_name = still_rejected.column_name)
        )
        and rejection_id not in (select known.rejection_id from {{ raw_schema() }}._replayed_values as known)
    {%- endif %}
{% endmacro %}
