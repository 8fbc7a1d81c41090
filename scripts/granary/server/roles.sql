-- Who may do what. `bin/warehouse roles` runs this after raw.sql, and then the roles.sql of each part below serving/, all in
-- one transaction; each statement can be repeated.
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
                ('granary_loader', 'nologin'), ('granary_builder', 'nologin'), ('granary_reader', 'login')
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

-- The user who runs this can still load and build, and may hand over what is theirs.
grant granary_loader, granary_builder to current_user;

-- These are settings for a session to begin with, so that a slow query ends; the rights are what can't be changed.
alter role granary_reader set statement_timeout = '60s';
alter role granary_reader set default_transaction_read_only = on;
-- A reader that is idle in a transaction keeps builds from replacing the tables that it has read.
alter role granary_reader set idle_in_transaction_session_timeout = '60s';

-- Rights that PostgreSQL gives to everybody. Builds need temporary tables; nobody needs large objects.
do $$
declare
    each record;
begin
    execute format('revoke temporary on database %I from public', current_database());
    execute format('grant temporary on database %I to granary_loader, granary_builder', current_database());
    for each in
        select cast(oid as regprocedure) as name
        from pg_proc
        where pronamespace = cast('pg_catalog' as regnamespace)
            and proname in ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import')
            and has_function_privilege('public', oid, 'execute')
            and (select rolsuper from pg_roles where rolname = current_user)
    loop
        execute format('revoke execute on function %s from public', each.name);
    end loop;
end $$;

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
                ('granary_lock', 'granary_loader'), ('raw', 'granary_loader'), ('staging', 'granary_builder'),
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

grant usage on schema granary_lock to granary_builder;
grant update on granary_lock.turn to granary_builder; -- the right to lock it
grant usage on schema raw to granary_builder;
grant select on all tables in schema raw to granary_builder;
grant insert on raw._begun_builds, raw._builds, raw._replayed_values to granary_builder;
grant select on sequence raw._last_removed_batch to granary_builder;
grant usage on schema marts to granary_reader;
grant select on all tables in schema marts to granary_reader;

-- dbt replaces tables by new ones, and bin/ingest creates tables: these rights come with them, whether a group creates them or
-- the user who runs this.
alter default privileges for role granary_loader in schema raw grant select on tables to granary_builder;
alter default privileges for role granary_builder in schema marts grant select on tables to granary_reader;
alter default privileges in schema raw grant select on tables to granary_builder;
alter default privileges in schema marts grant select on tables to granary_reader;
