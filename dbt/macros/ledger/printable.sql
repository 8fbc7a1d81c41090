{#-
    Returns text that came from files as it is safe to print on a terminal: whatever could move the cursor, change colours or
    reorder what is read becomes an escape such as \u001b. The same as `printable` in scripts/granary/text.py.

    text: the text
-#}
{% macro printable(text) %}
    {%- set characters = [] -%}
    {%- for character in text | string -%}
        {%- do characters.append(character if character.isprintable() else tojson(character)[1:-1]) -%}
    {%- endfor -%}
    {{ return(characters | join) }}
{% endmacro %}
