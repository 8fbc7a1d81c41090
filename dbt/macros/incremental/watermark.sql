{#-
    The highest batch that this model has taken in already, as a number in the SQL (a literal lets the planner see that few
    rows are new); 0 where the model is built from nothing.

    It is a lower bound: a batch that left no row here is looked at again, which changes nothing. A model that depends on
    several inputs keeps one such column per input, because a partial run may build one input and not another.

    column: name of the column of this model that holds the batch
-#}
{% macro watermark(column='_batch_id') -%}
    {%- if execute and is_incremental() -%}
        {%- set highest = run_query('select coalesce(max(' ~ column ~ '), 0) from ' ~ this) -%}
        {{ return(highest.columns[0].values()[0] | int) }}
    {%- endif -%}
    {{ return(0) }}
{%- endmacro %}
