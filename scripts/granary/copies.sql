-- What a copy has for the schema raw: views of what was known, and tables of its own for what a build writes. The landing tables'
-- views are made by copies.py, because it depends on the feeds which there are.
create schema {raw};

create table {raw}._copy (
    circumstances jsonb not null,
    state text not null default 'unfinished' check (state in ('unfinished', 'complete')),
    last_batch bigint not null,
    known_at timestamptz not null,
    known text not null,
    code text not null,
    revision text,
    created_at timestamptz not null default clock_timestamp()
);
comment on table {raw}._copy is 'What the copy is, in one row: see bin/copy.';
comment on column {raw}._copy.circumstances is 'The options of bin/copy create, with the rows of seeds.';
comment on column {raw}._copy.state is 'unfinished until all is built.';
comment on column {raw}._copy.last_batch is 'The newest batch that is known in the copy.';
comment on column {raw}._copy.known_at is 'The moment up to which decisions (accepted batches, brands, replayed values) are known.';
comment on column {raw}._copy.known is 'A hash of the ledger and the decisions that were known.';
comment on column {raw}._copy.code is 'A hash of the code that has built the copy.';
comment on column {raw}._copy.revision is 'The commit of that code; null without git.';

create view {raw}._batches as
with recursive successors as (
    -- Which batch replaced another. If that is left out, the next one did, which was delivered to the same path.
    select batch_id, replaced_by_batch_id as successor_id
    from raw._batches
    where replaced_by_batch_id is not null
    union all
    select successors.batch_id, batches.replaced_by_batch_id
    from successors
    inner join raw._batches as batches on successors.successor_id = batches.batch_id
    where successors.successor_id = any({without}) and batches.replaced_by_batch_id is not null
)

select
    batches.batch_id,
    batches.feed,
    batches.entity,
    batches.path,
    batches.sha256,
    batches.bytes,
    batches.rows_read,
    batches.rows_loaded,
    batches.rows_rejected,
    batches.first_row_id,
    case
        when successors.successor_id is not null then 'replaced'
        when batches.status = 'replaced' then 'loaded'
        else batches.status
    end as status,
    batches.error,
    successors.successor_id as replaced_by_batch_id,
    batches.started_at,
    batches.finished_at,
    batches.brand,
    batches.columns,
    batches.missing_columns,
    batches.extra_columns,
    batches.extra_values
from raw._batches as batches
left join successors
    on
        batches.batch_id = successors.batch_id
        and successors.successor_id <= {last_batch}
        and successors.successor_id <> all({without})
where
    batches.batch_id <= {last_batch}
    and batches.batch_id <> all({without})
union all
-- Merges that were added are a batch of their own, after all others. No delivered row has a negative number.
select
    {last_batch} + 1, {merge_feed}, {merge_entity}, 'bin/copy --merge', md5(''), 0, {merges}, {merges}, 0, -{merges}, 'loaded',
    null, null, finished_at, finished_at, null, null, null, null, null
from raw._batches
where {merges} > 0 and batch_id = {last_batch};

create view {raw}._rejected_lines as
select * from raw._rejected_lines
where batch_id <= {last_batch} and batch_id <> all({without});

create view {raw}._accepted_batches as
select * from raw._accepted_batches
where batch_id <= {last_batch} and batch_id <> all({without}) and accepted_at <= {known_at};

create view {raw}._brands as
select
    feed,
    entity,
    brand,
    kind,
    place,
    error,
    found_at,
    case when gone_at <= {known_at} then gone_at end as gone_at
from raw._brands
where found_at <= {known_at};

create table {raw}._builds (like raw._builds including all);
insert into {raw}._builds
select * from raw._builds
where finished_at <= {known_at};

create table {raw}._begun_builds (like raw._begun_builds including all);
insert into {raw}._begun_builds
select * from raw._begun_builds
where started_at < {known_at};

create table {raw}._replayed_values (like raw._replayed_values including all);
insert into {raw}._replayed_values
select * from raw._replayed_values
where batch_id <= {last_batch} and batch_id <> all({without}) and replayed_at <= {known_at};
