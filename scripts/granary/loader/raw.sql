-- The raw schema and the loader's ledger. bin/ingest runs this at every start, so each statement can be repeated.
-- raw_tables.py creates the landing tables (raw.<feed>__<entity>) from the declared sources.

create schema if not exists raw;
comment on schema raw is 'Everything that was delivered, as text, with the batch and line of every row. Only bin/ingest writes here.';

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
    brand text,
    columns text,
    missing_columns text,
    extra_columns text,
    extra_values bigint,
    constraint every_row_is_loaded_or_rejected check (rows_read = rows_loaded + rows_rejected),
    constraint failed_batches_have_an_error_and_no_rows check ((status = 'failed') = (error is not null) and (status <> 'failed' or rows_read = 0)),
    constraint landed_batches_have_bytes_and_ids check (status = 'failed' or num_nulls(sha256, bytes, first_row_id) = 0),
    constraint replaced_batches_name_their_successor check ((status = 'replaced') = (replaced_by_batch_id is not null))
);

-- Upgrade a warehouse from before there were brands.
do $$
begin
    if not exists (select from pg_attribute where attrelid = 'raw._batches'::regclass and attname = 'brand') then
        alter table raw._batches
        add column brand text,
        add column columns text,
        add column missing_columns text,
        add column extra_columns text,
        add column extra_values bigint;
    end if;
end $$;

-- The ledger's promise, held by the database as well: one batch in use per file.
create unique index if not exists _batches_one_per_file on raw._batches (feed, entity, path) where status = 'loaded';

-- For files of a known size, and for known bytes.
create index if not exists _batches_bytes on raw._batches (feed, entity, bytes) where status = 'loaded';
create index if not exists _batches_sha256 on raw._batches (feed, entity, sha256) where status = 'loaded';

comment on table raw._batches is 'One row per attempt to load a landing file.';
comment on column raw._batches.batch_id is 'Number of the batch. Batches commit in the order of their numbers.';
comment on column raw._batches.feed is 'Folder of the feed, which is the name of its dbt source.';
comment on column raw._batches.entity is 'Name of the entity, which is the name of its table in the dbt source.';
comment on column raw._batches.path is 'Path of the file below the data root.';
comment on column raw._batches.sha256 is 'SHA-256 of the file''s bytes as delivered (before gunzip), in hexadecimal digits.';
comment on column raw._batches.bytes is 'Size of the file as delivered, in bytes.';
comment on column raw._batches.rows_read is 'Number of rows found in the file: rows_loaded + rows_rejected.';
comment on column raw._batches.rows_loaded is 'Number of rows that landed in the raw table.';
comment on column raw._batches.rows_rejected is 'Number of rejected lines, see raw._rejected_lines.';
comment on column raw._batches.first_row_id is 'The _row_id of line 1: a row begins on line _row_id - first_row_id + 1. Elements of a JSON array that share a line are numbered consecutively from there.';
comment on column raw._batches.status is 'loaded, failed (nothing landed, see error) or replaced (its rows are no longer used).';
comment on column raw._batches.error is 'Why the file could not be loaded; null if it was loaded.';
comment on column raw._batches.replaced_by_batch_id is 'The batch that replaced this one; null for any other status.';
comment on column raw._batches.started_at is 'When the load began.';
comment on column raw._batches.finished_at is 'When the load ended.';
comment on column raw._batches.brand is 'Brand that delivered the file; null unless the source stands for brands, and so are the columns below.';
comment on column raw._batches.columns is 'Names of the file''s columns, in its order, separated by commas.';
comment on column raw._batches.missing_columns is 'Declared columns that the file lacks.';
comment on column raw._batches.extra_columns is 'Columns of the file that are not declared: their values are in the column _extra of the raw table.';
comment on column raw._batches.extra_values is 'Number of values in extra columns that are not empty.';

create table if not exists raw._brands (
    feed text not null,
    entity text not null,
    brand text not null,
    kind text not null check (kind in ('folder', 'schema')),
    place text not null,
    error text,
    found_at timestamptz not null default clock_timestamp(),
    gone_at timestamptz,
    primary key (feed, entity, kind, place)
);

comment on table raw._brands is 'One row per place in which bin/ingest has found a brand: a folder of files, or a table of a schema.';
comment on column raw._brands.feed is 'Source that stands for the brand.';
comment on column raw._brands.entity is 'Name of the table in the dbt source.';
comment on column raw._brands.brand is 'Name of the brand: what the pattern of the source leaves open.';
comment on column raw._brands.kind is 'folder or schema.';
comment on column raw._brands.place is 'The folder and the name of the entity (wl_acme/pages), or the schema and its table (wl_acme.pages).';
comment on column raw._brands.error is 'Why nothing can be loaded from there; null if something can.';
comment on column raw._brands.found_at is 'When bin/ingest first found it.';
comment on column raw._brands.gone_at is 'When bin/ingest no longer found it; null if it is there.';

-- Batches that were removed with their feed count here: no batch may get an id that models have already taken in.
create sequence if not exists raw._last_removed_batch minvalue 0 start 0;
comment on sequence raw._last_removed_batch is 'The highest batch_id when batches were last removed from the ledger (bin/feed remove --drop-data).';

create table if not exists raw._rejected_lines (
    batch_id bigint not null references raw._batches (batch_id) deferrable initially deferred,
    line_number bigint not null,
    line text not null,
    reason text not null,
    explanation text not null,
    primary key (batch_id, line_number)
);

-- Upgrade a warehouse from before rows and rejected lines were copied as they are read.
drop table if exists raw._lines;
drop function if exists raw._insert_one_by_one(text), raw._why_no_row(text);

-- Upgrade a warehouse in which reason still is the sentence.
do $$
begin
    if not exists (
        select from pg_attribute where attrelid = 'raw._rejected_lines'::regclass and attname = 'explanation'
    ) then
        alter table raw._rejected_lines add column explanation text;
        update raw._rejected_lines set explanation = reason, reason = 'damaged';
        alter table raw._rejected_lines alter column explanation set not null;
    end if;
end $$;

comment on table raw._rejected_lines is 'One row per line of a loaded file that could not become a row.';
comment on column raw._rejected_lines.batch_id is 'Batch of the file.';
comment on column raw._rejected_lines.line_number is 'Line of the file, counted from 1 (see raw._batches.first_row_id).';
comment on column raw._rejected_lines.line is 'Text of the line (its first million characters), with escapes for bytes that text can not hold.';
comment on column raw._rejected_lines.reason is 'Code of the reason, such as ragged or not_json; damaged if the line was rejected before there were codes.';
comment on column raw._rejected_lines.explanation is 'The reason as a sentence, with details.';

create table if not exists raw._accepted_batches (
    batch_id bigint primary key references raw._batches (batch_id) deferrable initially deferred,
    why text not null check (why ~ '\S'),
    accepted_at timestamptz not null default clock_timestamp()
);

comment on table raw._accepted_batches is 'One row per batch whose rejected rows and values were accepted (bin/ingest --accept): they count neither as open nor against the limits of their source.';
comment on column raw._accepted_batches.batch_id is 'The batch.';
comment on column raw._accepted_batches.why is 'Why its rejections are acceptable, in the words of the person who accepted them.';
comment on column raw._accepted_batches.accepted_at is 'When the batch was accepted.';

create table if not exists raw._files (
    path text primary key,
    batch_id bigint not null references raw._batches (batch_id) on delete cascade deferrable initially deferred,
    signature text not null
);

comment on table raw._files is 'One row per file that is known by its times: as long as its signature is the same, bin/ingest does not read it again.';
comment on column raw._files.path is 'Path of the file below the data root.';
comment on column raw._files.batch_id is 'The batch that has the bytes of the file; another file may have been loaded as it.';
comment on column raw._files.signature is 'Device, inode, size, and the times of the last change of content and of anything, in nanoseconds.';

create table if not exists raw._forgotten (
    forgotten_id bigint primary key,
    feed text not null,
    forgotten_at timestamptz not null default clock_timestamp(),
    forgotten_by text not null,
    what jsonb not null,
    finished_at timestamptz
);

comment on table raw._forgotten is 'One row per person who was forgotten (bin/forget), with what was replaced where: no value of the person.';
comment on column raw._forgotten.forgotten_id is 'Number of the row.';
comment on column raw._forgotten.feed is 'Feed in which the person was looked for.';
comment on column raw._forgotten.forgotten_at is 'When the values were replaced in the database.';
comment on column raw._forgotten.forgotten_by is 'User of the machine, and of the database, who ran it.';
comment on column raw._forgotten.what is 'Counts by kind of value, table and file.';
comment on column raw._forgotten.finished_at is 'When the last step was done; null if it was interrupted.';

create table if not exists raw._forgotten_files (
    forgotten_id bigint not null references raw._forgotten (forgotten_id) on delete cascade,
    path text not null,
    sha256_before text not null,
    sha256_after text not null,
    bytes_before bigint not null,
    bytes_after bigint not null,
    is_in_place boolean not null default false,
    primary key (forgotten_id, path)
);
create index if not exists _forgotten_files_bytes on raw._forgotten_files (bytes_before);

comment on table raw._forgotten_files is 'One row per file that was rewritten to forget a person. Its former bytes are never loaded again.';
comment on column raw._forgotten_files.forgotten_id is 'The row of raw._forgotten.';
comment on column raw._forgotten_files.path is 'Path of the file below the data root.';
comment on column raw._forgotten_files.sha256_before is 'SHA-256 of the file as delivered.';
comment on column raw._forgotten_files.sha256_after is 'SHA-256 of the rewritten file.';
comment on column raw._forgotten_files.bytes_before is 'Size as delivered, in bytes.';
comment on column raw._forgotten_files.bytes_after is 'Size of the rewritten file, in bytes.';
comment on column raw._forgotten_files.is_in_place is 'Whether the rewritten file has taken the place of the delivered one; until then it lies beside it, under a name that begins with a dot.';

create table if not exists raw._replayed_values (
    rejection_id text primary key,
    feed text not null,
    entity text not null,
    severity text not null,
    column_name text,
    delivered_value text,
    reason text not null,
    explanation text not null,
    file_path text not null,
    line_number bigint not null,
    batch_id bigint not null references raw._batches (batch_id) deferrable initially deferred,
    row_id bigint not null,
    replayed_at timestamptz not null default clock_timestamp()
);

comment on table raw._replayed_values is 'One row per value that was rejected until the rules of its source changed. Written by the macro record_replayed_values.';
comment on column raw._replayed_values.rejection_id is 'Key of the rejection, derived from feed, entity, batch, line and column.';
comment on column raw._replayed_values.feed is 'Feed of the file.';
comment on column raw._replayed_values.entity is 'Entity of the file.';
comment on column raw._replayed_values.severity is 'row if the whole row was rejected, value if only the value was.';
comment on column raw._replayed_values.column_name is 'Name of the column as delivered.';
comment on column raw._replayed_values.delivered_value is 'The value as delivered.';
comment on column raw._replayed_values.reason is 'Code of the reason for which it was rejected.';
comment on column raw._replayed_values.explanation is 'The reason as a sentence.';
comment on column raw._replayed_values.file_path is 'Path of the file below the data root.';
comment on column raw._replayed_values.line_number is 'Line of the file, counted from 1.';
comment on column raw._replayed_values.batch_id is 'Batch of the file.';
comment on column raw._replayed_values.row_id is 'The _row_id of the raw row.';
comment on column raw._replayed_values.replayed_at is 'When a build first took the value in.';

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

comment on table raw._builds is 'One row per dbt run or dbt build that ran to its end. Written by the macro record_build.';
comment on column raw._builds.build_id is 'dbt''s invocation id.';
comment on column raw._builds.schema_prefix is 'GRANARY_SCHEMA_PREFIX of the build; usually empty.';
comment on column raw._builds.command is 'run or build.';
comment on column raw._builds.selection is 'Value of --select; null without --select.';
comment on column raw._builds.is_full_refresh is 'Whether --full-refresh rebuilt everything selected.';
comment on column raw._builds.status is 'passed, or failed (a model or a seed could not be built, or a test failed).';
comment on column raw._builds.models_built is 'Number of models that were built, including views.';
comment on column raw._builds.tests_passed is 'Number of data tests and unit tests that passed.';
comment on column raw._builds.tests_warned is 'Number of tests that warned.';
comment on column raw._builds.tests_failed is 'Number of tests that failed.';
comment on column raw._builds.errors is 'Number of models, seeds and tests that failed to run, or were skipped because of that.';
comment on column raw._builds.started_at is 'When the build began.';
comment on column raw._builds.finished_at is 'When the build ended.';

create table if not exists raw._begun_builds (
    build_id text primary key,
    schema_prefix text not null,
    started_at timestamptz not null
);

comment on table raw._begun_builds is 'One row per dbt run or dbt build. Without a row in raw._builds, it is running, or was killed.';
comment on column raw._begun_builds.build_id is 'dbt''s invocation id.';
comment on column raw._begun_builds.schema_prefix is 'GRANARY_SCHEMA_PREFIX of the build; usually empty.';
comment on column raw._begun_builds.started_at is 'When the build began.';

create sequence if not exists raw._row_ids cache 1000;
comment on sequence raw._row_ids is 'Numbers the rows of all landing tables. bin/ingest sets it where a batch begins.';

create table if not exists raw._provenance (
    _batch_id bigint not null default current_setting('granary.batch_id')::bigint,
    _row_id bigint not null default nextval('raw._row_ids')
);
create index if not exists _provenance_batch_id on raw._provenance (_batch_id);
comment on table raw._provenance is 'Template of the columns that every landing table begins with. Holds no rows.';
comment on column raw._provenance._batch_id is 'Batch of the row.';
comment on column raw._provenance._row_id is 'Number of the row. Its line is _row_id - first_row_id + 1, see raw._batches.first_row_id.';

-- jsonb is stricter than json: like text, it has no NUL characters and no halves of surrogate pairs.
create or replace function raw._reason(line text) returns text immutable strict parallel safe
return case
    when not pg_input_is_valid(line, 'jsonb') then 'not_json'
    when line is not json object then 'not_an_object'
    when line is not json object with unique keys then 'duplicate_key'
end;
comment on function raw._reason is 'Code of the reason why a line of JSON can not be a row; null if it can.';

create or replace function raw._explanation(line text, reason text) returns text immutable strict parallel safe
return case reason
    when 'not_json' then (select 'not valid JSON: ' || coalesce(detail, message) from pg_input_error_info(line, 'jsonb'))
    when 'not_an_object' then 'the JSON is not an object'
    when 'duplicate_key' then 'the JSON has the same key twice'
end;
comment on function raw._explanation is 'The sentence for a reason that raw._reason returned for a line.';
