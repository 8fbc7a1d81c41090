{#-
    Condition that is true if a market cap rank belongs to a segment: the rank is within the bounds, or both are missing.

    rank: SQL expression of the rank
    segments: alias of the seed market_cap_segments
-#}
{% macro is_in_segment(rank, segments) -%}
    (
        {{ rank }} >= {{ segments }}.lowest_rank
        and ({{ rank }} <= {{ segments }}.highest_rank or {{ segments }}.highest_rank is null)
        or {{ rank }} is null and {{ segments }}.lowest_rank is null
    )
{%- endmacro %}
