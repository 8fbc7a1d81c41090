-- The raw schema and the loader's ledger. bin/ingest runs this at every start, so each statement can be repeated.
-- The landing tables themselves (raw.<feed>__<entity>) are made from the declared sources, by scripts/granary/loader/raw_tables.py.

create schema if not exists raw;
comment on schema raw is 'What was delivered, as text, with the batch and the line of every row. Written by bin/ingest only.';

create table if not exists raw._batches (
    batch_id bigint primary key,
    feed text not null,
    entity text not null,
    path text not null,
    sha256 text,
    bytes bigint,
    rows_read bigint not null default 0,
    rows_loaded bigint not null default 0,
    rows_rejected bigint not null default 0,
    first_row_id bigint,
    status text not null check (status in ('loaded', 'failed', 'replaced')),
    error text,
    replaced_by_batch_id bigint references raw._batches (batch_id) deferrable initially deferred,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    constraint every_row_is_loaded_or_rejected check (rows_read = rows_loaded + rows_rejected),
    constraint failed_batches_have_an_error_and_no_rows check ((status = 'failed') = (error is not null) and (status <> 'failed' or rows_read = 0)),
    constraint landed_batches_have_bytes_and_ids check (status = 'failed' or num_nulls(sha256, bytes, first_row_id) = 0),
    constraint replaced_batches_name_their_successor check ((status = 'replaced') = (replaced_by_batch_id is not null))
);

-- The ledger's promise, held by the database as well: one batch in use per file.
create unique index if not exists _batches_one_per_file on raw._batches (feed, entity, path) where status = 'loaded';

comment on table raw._batches is 'One row per attempt to load a landing file.';
comment on column raw._batches.batch_id is 'Number of the batch. Batches commit in the order of their numbers.';
comment on column raw._batches.feed is 'Folder of the feed, which is the name of its dbt source.';
comment on column raw._batches.entity is 'Name of the entity, which is the name of its table in the dbt source.';
comment on column raw._batches.path is 'Path of the file below the data root.';
comment on column raw._batches.sha256 is 'SHA-256 of the file''s bytes as delivered (before gunzip), in hexadecimal digits.';
comment on column raw._batches.bytes is 'Size of the file as delivered, in bytes.';
comment on column raw._batches.rows_read is 'Number of rows found in the file: rows_loaded + rows_rejected.';
comment on column raw._batches.rows_loaded is 'Number of rows that landed in the raw table.';
comment on column raw._batches.rows_rejected is 'Number of lines that could not be rows.';
comment on column raw._batches.first_row_id is 'The _row_id that stands for line 1: the line of a row, on which it begins, is _row_id - first_row_id + 1. Where elements of a JSON array share a line, they are numbered on from there.';
comment on column raw._batches.status is 'loaded, failed (nothing landed, see error) or replaced (its rows are no longer used).';
comment on column raw._batches.error is 'Why the file could not be loaded; null where it was.';
comment on column raw._batches.replaced_by_batch_id is 'The batch that replaced this one; null for any other status.';
comment on column raw._batches.started_at is 'When the load began.';
comment on column raw._batches.finished_at is 'When the load ended.';

create table if not exists raw._rejected_lines (
    batch_id bigint not null references raw._batches (batch_id) deferrable initially deferred,
    line_number bigint not null,
    line text not null,
    reason text not null,
    primary key (batch_id, line_number)
);

alter table raw._rejected_lines add column if not exists explanation text generated always as (reason) stored;

comment on table raw._rejected_lines is 'One row per line of a loaded file that could not be a row.';
comment on column raw._rejected_lines.batch_id is 'Batch of the file.';
comment on column raw._rejected_lines.line_number is 'Line of the file, counted from 1 (see raw._batches.first_row_id).';
comment on column raw._rejected_lines.line is 'Text of the line (its first million characters), with escapes for what text can not hold.';
comment on column raw._rejected_lines.reason is 'Why the line is no row.';

create table if not exists raw._builds (
    build_id text primary key,
    schema_prefix text not null,
    command text not null,
    selection text,
    is_full_refresh boolean not null,
    status text not null check (status in ('passed', 'failed')),
    models_built bigint not null,
    tests_passed bigint not null,
    tests_warned bigint not null,
    tests_failed bigint not null,
    errors bigint not null,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp()
);

comment on table raw._builds is 'One row per dbt run or dbt build that came to its end. Written by the macro record_build.';
comment on column raw._builds.build_id is 'dbt''s invocation id.';
comment on column raw._builds.schema_prefix is 'GRANARY_SCHEMA_PREFIX of the build; empty as a rule.';
comment on column raw._builds.command is 'run or build.';
comment on column raw._builds.selection is 'What --select named; null where it named nothing.';
comment on column raw._builds.is_full_refresh is 'Whether everything selected was built from nothing.';
comment on column raw._builds.status is 'passed, or failed (a model or a seed could not be built, or a test failed).';
comment on column raw._builds.models_built is 'Number of models, views included, that were built.';
comment on column raw._builds.tests_passed is 'Number of data tests and unit tests that passed.';
comment on column raw._builds.tests_warned is 'Number of tests that warned.';
comment on column raw._builds.tests_failed is 'Number of tests that failed.';
comment on column raw._builds.errors is 'Number of models, seeds and tests that could not be run, or were skipped for that reason.';
comment on column raw._builds.started_at is 'When the build began.';
comment on column raw._builds.finished_at is 'When the build ended.';

create sequence if not exists raw._row_ids cache 1000;
comment on sequence raw._row_ids is 'Numbers the rows of all landing tables. bin/ingest moves it to where a batch begins.';

create table if not exists raw._provenance (
    _batch_id bigint not null default current_setting('granary.batch_id')::bigint,
    _row_id bigint not null default nextval('raw._row_ids')
);
create index if not exists _provenance_batch_id on raw._provenance (_batch_id);
comment on table raw._provenance is 'The columns that every landing table begins with: a template, which holds no rows.';
comment on column raw._provenance._batch_id is 'Batch of the row.';
comment on column raw._provenance._row_id is 'Number of the row: its line is _row_id - first_row_id + 1, see raw._batches.first_row_id.';

-- jsonb is stricter than json: it has no NUL characters and no halves of surrogate pairs, like text.
create or replace function raw._why_no_row(line text) returns text immutable strict parallel safe
return case
    when line ~ '^\s*$' then 'a blank line'
    when not pg_input_is_valid(line, 'jsonb')
        then (select 'it is not JSON: ' || coalesce(detail, message) from pg_input_error_info(line, 'jsonb'))
    when line is not json object then 'it is not a JSON object'
    when line is not json object with unique keys then 'a key is there twice'
end;
comment on function raw._why_no_row is 'Why a line of JSON can not be a row; null where it can.';

create unlogged table if not exists raw._lines (
    number bigint not null,
    text text not null,
    problem text,
    reason text generated always as (coalesce(problem, raw._why_no_row(text))) stored
);
comment on table raw._lines is 'The lines of the file that is being loaded, where COPY can not read it as it is. Empty between loads.';
comment on column raw._lines.number is 'Line of the file, counted from 1.';
comment on column raw._lines.text is 'The line''s values as a JSON object, or the text of a line that is no row.';
comment on column raw._lines.problem is 'What bin/ingest found wrong with the line; null otherwise.';
comment on column raw._lines.reason is 'Why the line is no row; null where it is.';
