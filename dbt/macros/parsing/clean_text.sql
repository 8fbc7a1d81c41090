{#-
    Text without outer whitespace and outer characters that nobody sees; null if the rest is empty, or a marker that means
    "nothing". What is inside stays as delivered, and so does the case of letters.

    value: SQL expression of text
    nulls: the markers, as they are spelled (default: the var `nulls`)
-#}
{% macro clean_text(value, nulls=none) -%}
    {%- set trimmed = trim_whitespace(value) -%}
    {%- set markers = [] -%}
    {%- for marker in [''] + (var('nulls') if nulls is none else nulls) -%}
        {%- do markers.append("'" ~ dbt.escape_single_quotes(marker) ~ "'") -%}
    {%- endfor -%}
    case when {{ trimmed }} not in ({{ markers | join(', ') }}) then {{ trimmed }} end
{%- endmacro %}


{% macro trim_whitespace(value) -%}
    {{ return(adapter.dispatch('trim_whitespace', 'granary')(value)) }}
{%- endmacro %}

{# Escapes are specific to PostgreSQL; those of JSON are among them. #}
{% macro default__trim_whitespace(value) -%}
    btrim({{ value }}, e'{{ tojson(outer_characters())[1:-1] }}')
{%- endmacro %}


{#-
    The characters that are trimmed: whitespace; zero-width space, word joiner and byte order mark; marks, embeddings and isolates
    that give text a direction.
-#}
{% macro outer_characters() %}
    {%- set invisible = '\u200b\u2060\ufeff' -%}
    {%- set directions = '\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069' -%}
    {{ return(' \t\n\r\f\x0b' ~ spaces_beyond_ascii() ~ invisible ~ directions) }}
{% endmacro %}


{#- The whitespace of Unicode that is not in ASCII. -#}
{% macro spaces_beyond_ascii() %}
    {{ return('\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000') }}
{% endmacro %}
