-- Nothing claims to be from a later day than it was delivered. What does is used nowhere, but somebody should know.
{{ config(severity='warn') }}

select * from {{ ref('market_implausible_rows') }}
