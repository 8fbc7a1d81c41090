-- Who may do what, and what the API needs to know whom it answers. `bin/warehouse roles` runs this after raw.sql, in one
-- transaction; each statement can be repeated.
--
-- Roles belong to the whole server. Those that people and programs log in with become members:
--     create role ana login password '...' in role granary_builder;
--     alter role ana set role granary_builder;    -- what she makes belongs to the group, so that the others can rebuild it

set local client_min_messages = warning;

do $$
declare
    each record;
begin
    for each in
        select name, attributes
        from (
            values
                ('granary_loader', 'nologin'), ('granary_builder', 'nologin'),
                ('granary_reader', 'login'), ('granary_api', 'login')
        ) as roles (name, attributes)
        where name not in (select rolname from pg_roles)
    loop
        execute format('create role %I %s', each.name, each.attributes);
    end loop;
    execute format('grant connect on database %I to granary_loader, granary_builder, granary_reader', current_database());
    -- The second copy (GRANARY_SCHEMA_PREFIX) has schemas of its own.
    execute format('grant create on database %I to granary_loader, granary_builder', current_database());
end $$;

comment on role granary_loader is 'Granary: loads files into raw.';
comment on role granary_builder is 'Granary: reads raw, builds everything else.';
comment on role granary_reader is 'Granary: reads the marts.';
comment on role granary_api is 'Granary: the API. Reads the marts, and asks api.admit() whom it answers.';

-- Whoever runs this goes on loading and building, and may hand over what is theirs.
grant granary_loader, granary_builder to current_user;
grant granary_reader to granary_api;

-- These are settings for a session to begin with, so that a slow query ends; the rights are what can't be changed.
alter role granary_reader set statement_timeout = '60s';
alter role granary_reader set default_transaction_read_only = on;
alter role granary_api set statement_timeout = '10s';

-- -- Schemas and what is in them ----------------------------------------------------------------------------------------

create schema if not exists staging;
create schema if not exists intermediate;
create schema if not exists marts;

-- What is altered or replaced must be owned: raw by those who load, the rest by those who build.
do $$
declare
    each record;
begin
    for each in
        with owners (schema_name, owner) as (
            values
                ('raw', 'granary_loader'), ('staging', 'granary_builder'),
                ('intermediate', 'granary_builder'), ('marts', 'granary_builder')
        ),

        objects as (
            select 'schema' as kind, quote_ident(nspname) as name, nspname as schema_name, nspowner as owned_by
            from pg_namespace
            union all
            select
                case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end,
                format('%I.%I', nspname, relname), nspname, relowner
            from pg_class
            inner join pg_namespace on pg_namespace.oid = relnamespace
            where relkind in ('r', 'p', 'v', 'm', 'S')
            union all
            select 'function', cast(cast(pg_proc.oid as regprocedure) as text), nspname, proowner
            from pg_proc
            inner join pg_namespace on pg_namespace.oid = pronamespace
        )

        select objects.kind, objects.name, owners.owner
        from objects
        inner join owners on objects.schema_name = owners.schema_name
        where pg_get_userbyid(objects.owned_by) <> owners.owner
        order by objects.kind = 'schema' desc -- who gets a table must be able to create one there
    loop
        execute format('alter %s %s owner to %I', each.kind, each.name, each.owner);
    end loop;
end $$;

grant usage on schema raw to granary_builder;
grant select on all tables in schema raw to granary_builder;
grant insert on raw._builds to granary_builder;
grant usage on schema marts to granary_reader;
grant select on all tables in schema marts to granary_reader;

-- dbt replaces tables by new ones, and bin/ingest makes tables: these rights come with them, whether the groups make them or
-- whoever runs this.
alter default privileges for role granary_loader in schema raw grant select on tables to granary_builder;
alter default privileges for role granary_builder in schema marts grant select on tables to granary_reader;
alter default privileges in schema raw grant select on tables to granary_builder;
alter default privileges in schema marts grant select on tables to granary_reader;

-- -- Tokens of the API --------------------------------------------------------------------------------------------------

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
comment on table api.tokens is 'One row per token that was ever made.';
comment on column api.tokens.name is 'Whose it is. A name is used once, so that a log never means two.';
comment on column api.tokens.token_hash is 'SHA-256 of the token. The token is 256 random bits, so it needs no salt and no slow hash.';
comment on column api.tokens.feeds is 'Feeds whose marts it may read.';
comment on column api.tokens.rate_requests is 'Number of requests that it has in each window.';
comment on column api.tokens.rate_seconds is 'Length of a window, in seconds.';
comment on column api.tokens.created_at is 'When it was made.';
comment on column api.tokens.revoked_at is 'When it was revoked; null while it is valid.';

-- Counts needn't outlive a crash: unlogged, so that no request waits for a disk.
create unlogged table if not exists api.requests (
    name text primary key references api.tokens (name),
    window_start timestamptz not null,
    request_count integer not null
);
comment on table api.requests is 'One row per token with a request: how many it has made in its latest window.';
comment on column api.requests.name is 'Name of the token.';
comment on column api.requests.window_start is 'When the window began.';
comment on column api.requests.request_count is 'Number of requests in it, refused ones included.';

-- Both sides are hashed again with a number of the moment before they are compared: how long the comparison takes then says
-- nothing about the hash that is stored.
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
comment on function api.admit is 'Counts a request and says whose it is and whether it may be answered; no row where no valid token has this hash.';
revoke all on function api.admit from public;
grant execute on function api.admit to granary_api;
