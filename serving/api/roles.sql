-- The API's part of the roles: the role that it logs in as, and the tokens of its users. `bin/warehouse roles` runs this after
-- scripts/granary/server/roles.sql, in the same transaction; each statement can be repeated.

do $$
begin
    if not exists (select from pg_roles where rolname = 'granary_api') then
        create role granary_api login;
    end if;
end $$;
comment on role granary_api is 'Granary: the API. Reads the marts, and looks up tokens with api.admit().';
grant granary_reader to granary_api;
alter role granary_api set statement_timeout = '10s';
alter role granary_api set lock_timeout = '2s';
alter role granary_api set idle_in_transaction_session_timeout = '10s';

create schema if not exists api;
comment on schema api is 'Tokens of the API and their requests. Written by bin/api-token and api.admit() only.';
grant usage on schema api to granary_api;

create table if not exists api.tokens (
    name text primary key,
    token_hash bytea not null unique,
    feeds text[] not null,
    rate_requests integer not null check (rate_requests > 0),
    rate_seconds integer not null check (rate_seconds > 0),
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
comment on table api.tokens is 'One row per token that was ever created.';
comment on column api.tokens.name is 'Who or what uses it. A name is used once, so that it means one token in every log.';
comment on column api.tokens.token_hash is 'SHA-256 of the token. The token is 256 random bits, so it needs no salt and no slow hash.';
comment on column api.tokens.feeds is 'Feeds whose marts it may read.';
comment on column api.tokens.rate_requests is 'Number of requests that it may make in each window.';
comment on column api.tokens.rate_seconds is 'Length of a window, in seconds.';
comment on column api.tokens.created_at is 'When it was created.';
comment on column api.tokens.revoked_at is 'When it was revoked; null while it is valid.';

-- Unlogged, so that no request waits for a disk: the counts needn't outlive a crash.
create unlogged table if not exists api.requests (
    name text primary key references api.tokens (name),
    window_start timestamptz not null,
    request_count integer not null
);
comment on table api.requests is 'One row per token that was used: the number of its requests in its latest window.';
comment on column api.requests.name is 'Name of the token.';
comment on column api.requests.window_start is 'When the window began.';
comment on column api.requests.request_count is 'Number of requests in it, refused ones included.';

-- Both sides are hashed again with a random number before they are compared, so that the time that the comparison takes says
-- nothing about the stored hash.
create or replace function api.admit(given bytea)
returns table (
    token_name text, token_feeds text[], request_limit integer, remaining integer, reset_seconds integer, is_admitted boolean
)
language sql volatile strict security definer set search_path = pg_catalog, pg_temp
as $$
    with

    moment as materialized (

        select uuid_send(gen_random_uuid()) as nonce

    ),

    token as (

        select
            tokens.*,
            date_bin(make_interval(secs => tokens.rate_seconds), now(), timestamptz 'epoch') as window_start
        from api.tokens
        cross join moment
        where sha256(tokens.token_hash || moment.nonce) = sha256(given || moment.nonce)
            and tokens.revoked_at is null

    ),

    counted as (

        insert into api.requests as requests (name, window_start, request_count)
        select name, window_start, 1
        from token
        on conflict (name) do update set
            -- A request that began before the window may be counted after the first one in it.
            request_count = case when requests.window_start >= excluded.window_start then requests.request_count + 1 else 1 end,
            window_start = greatest(requests.window_start, excluded.window_start)
        returning requests.window_start, requests.request_count

    )

    select
        token.name,
        token.feeds,
        token.rate_requests,
        greatest(token.rate_requests - counted.request_count, 0),
        cast(ceil(extract(epoch from counted.window_start - now()) + token.rate_seconds) as integer),
        counted.request_count <= token.rate_requests
    from token
    cross join counted
$$;
comment on function api.admit is 'Counts a request; returns its token, and whether it may be answered. No row if no valid token has this hash.';
revoke all on function api.admit from public;
grant execute on function api.admit to granary_api;
