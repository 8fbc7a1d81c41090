{#-
    The shares of a batch above which a build warns or fails, as {warn_above, fail_above}, each from 0 to 1: the var
    `reject_limits`, unless the meta of the source or the table declares its own, or one of them. Its other two, max_lines
    and max_bytes, are those of bin/ingest, which checks them.

    feed, entity: names of the source and its table
-#}
{% macro reject_limits(feed, entity) %}
    {%- set table = declared_table(feed, entity) -%}
    {%- set limits = dict(var('reject_limits'), **(table.config.meta.reject_limits or {})) -%}
    {%- for name, limit in limits.items() if name not in ('max_lines', 'max_bytes')
            and (name not in ('warn_above', 'fail_above') or limit is not number or not 0 <= limit <= 1) -%}
        {{ exceptions.raise_compiler_error(
            table.original_file_path ~ ": " ~ feed ~ "." ~ entity ~ " declares `reject_limits` with `" ~ name ~ ": " ~ limit
            ~ "`: it takes warn_above and fail_above, each a share from 0 to 1, such as 0.2; max_lines and max_bytes"
        ) }}
    {%- endfor -%}
    {{ return(limits) }}
{% endmacro %}
