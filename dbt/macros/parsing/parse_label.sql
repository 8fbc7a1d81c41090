{#-
    A label in a uniform spelling: lower case, with each run of spaces, punctuation and symbols replaced by one underscore, so that
    `Viewed Product Page` and `VIEWED_PRODUCT_PAGE` agree. Null if nothing else is left.

    value: SQL expression of cleaned text
-#}
{% macro parse_label(value) -%}
    nullif({{ words_joined_by_underscores(lower_case(value)) }}, '')
{%- endmacro %}


{#- Text in lower case, one character for one: a capital sigma is the same wherever it stands in a word. -#}
{% macro lower_case(value) -%}
    {{ return(adapter.dispatch('lower_case', 'granary')(value)) }}
{%- endmacro %}

{% macro default__lower_case(value) -%}
    lower({{ value }})
{%- endmacro %}


{% macro words_joined_by_underscores(value) -%}
    {{ return(adapter.dispatch('words_joined_by_underscores', 'granary')(value)) }}
{%- endmacro %}

{# The flag and the escapes are specific to PostgreSQL; other engines replace every occurrence by default. #}
{% macro default__words_joined_by_underscores(value) -%}
    btrim(regexp_replace({{ value }}, '[{{ between_words("\\U%08x") }}]+', '_', 'g'), '_')
{%- endmacro %}


{#-
    The characters between words, as ranges of code points in a bracket expression. What counts as a letter depends on the engine,
    and in PostgreSQL on the locale of the server, so this names what does not: spaces, punctuation and symbols (superscripts and
    fractions among them) of ASCII, Latin-1, and the blocks that hold nothing else. Accents, vowel signs and digits of any script
    are parts of words.

    code_point: how the engine writes a code point in a regular expression, as a format of a number
-#}
{% macro between_words(code_point) %}
    {%- set ranges = [
        (0x01, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0xa9), (0xab, 0xb4), (0xb6, 0xb9), (0xbb, 0xbf), (0xd7, 0xd7), (0xf7, 0xf7),
        (0x1680, 0x1680), (0x2000, 0x206f), (0x2070, 0x2070), (0x2074, 0x207e), (0x2080, 0x208e), (0x20a0, 0x20cf),
        (0x2150, 0x215f), (0x2190, 0x245f), (0x2460, 0x249b), (0x24ea, 0x2bff), (0x2e00, 0x2e7f), (0x3000, 0x3004),
        (0x3008, 0x3020), (0x3030, 0x3030), (0xfe10, 0xfe1f), (0xfe30, 0xfe6f), (0xfeff, 0xff0f), (0xff1a, 0xff20),
        (0xff3b, 0xff40), (0xff5b, 0xff65), (0xffe0, 0xffff), (0x1f000, 0x1f0ff), (0x1f10c, 0x1f10f), (0x1f16a, 0x1f16f),
        (0x1f18a, 0x1fbef),
    ] -%}
    {%- for first, last in ranges -%}
        {{ code_point % first }}-{{ code_point % last }}
    {%- endfor -%}
{% endmacro %}
