{# dbt builds a table under another name and then swaps names, which waits for everyone who reads the old table.
   New readers would wait behind this, so each try is short, and readers pass between two tries. #}
{% macro postgres__rename_relation(from_relation, to_relation) %}
{% call statement("rename_relation") %}
do $$
declare
    began constant timestamptz := clock_timestamp();
    holders text;
begin
    loop
        begin
            set local lock_timeout = '200ms';
            alter table {{ from_relation }} rename to {{ adapter.quote(to_relation.identifier) }};  -- views, too
            set local lock_timeout = default;
            return;
        exception when lock_not_available then
            if clock_timestamp() - began > interval '{{ env_var("GRANARY_LOCK_WAIT", "120s") }}' then
                select string_agg(
                    format(
                        'process %s of %s (%s, %s for %s): %s', pid, usename, application_name, state,
                        date_trunc('second', clock_timestamp() - state_change), left(query, 80)
                    ), e'\n' order by pid
                )
                into holders
                from pg_locks
                inner join pg_stat_activity using (pid)
                where pg_locks.database = datid
                    and pg_locks.relation = cast('{{ from_relation | replace("'", "''") }}' as regclass)
                    and pg_locks.granted
                    and pid <> pg_backend_pid()
                    and state is distinct from 'idle';  -- these have finished meanwhile
                raise exception e'{{ from_relation.identifier }} can''t be replaced, because it is being read by\n%',
                    coalesce(holders, 'a process that has ended meanwhile')
                    using hint = 'Build again when this is over; "select pg_terminate_backend(<process>)" ends it.';
            end if;
            perform pg_sleep(1);
        end;
    end loop;
end $$
{% endcall %}
{% endmacro %}
