"""Under what circumstances a copy is built (see bin/copy): what was known at a moment, and what was otherwise."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from psycopg2 import sql

from granary import declared
from granary.declared import Entity, Mart
from granary.project import ROOT, GranaryError
from granary.text import read_day

# The newest batch of a moment, and until when decisions (accepted batches, places of brands) were known at it
MOMENTS = {
    "": "select max(batch_id), timestamptz 'infinity' from raw._batches",
    "day": """
        select max(batch_id), timestamptz %(asked)s + interval '1 day' from raw._batches
        where finished_at < timestamptz %(asked)s + interval '1 day'
    """,
    "batch": """
        select batch_id, coalesce((select min(finished_at) from raw._batches where batch_id > %(asked)s), 'infinity')
        from raw._batches where batch_id = %(asked)s
    """,
    # Loads and builds take turns, and a batch has its finished_at before its load gives up the lock. So those that were
    # finished when a build began are those that its models have read.
    "build": """
        select (select max(batch_id) from raw._batches where finished_at < builds.started_at), started_at
        from raw._builds as builds where starts_with(build_id, %(asked)s)
    """,
}
FIRST_LOAD = """
    select batch_id, finished_at::timestamp(0) from raw._batches where status <> 'failed' order by batch_id limit 1
"""
# The hash tells batches from those of another ledger with the same numbers, and says if a decision has been added.
KNOWN = """
    select
        %(batch)s as batch,
        %(at)s as at,
        (select finished_at::timestamp(0)::text from raw._batches where batch_id = %(batch)s) as loaded_at,
        md5(concat_ws(
            '|',
            (select string_agg(concat(batch_id, sha256, finished_at), ',' order by batch_id)
                from raw._batches where batch_id <= %(batch)s),
            (select string_agg(concat(batch_id, accepted_at), ',' order by batch_id)
                from raw._accepted_batches where accepted_at <= %(at)s),
            (select string_agg(concat(kind, place, entity, error, gone_at <= %(at)s), ',' order by kind, place, entity)
                from raw._brands where found_at <= %(at)s),
            (select string_agg(rejection_id, ',' order by rejection_id)
                from raw._replayed_values where replayed_at <= %(at)s)
        )) as fingerprint
"""


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """The options of `bin/copy create`; of seeds, what their files hold."""

    as_of: str = ""
    ref: str = ""
    without_batch: Sequence[int] = ()
    ignore_merge: Sequence[str] = ()
    merge: Sequence[str] = ()
    seed: dict[str, str] = dataclasses.field(default_factory=dict)
    select: Sequence[str] = ()

    def __str__(self) -> str:
        """Return them as on the command line."""
        given = dataclasses.asdict(self).items()
        return " ".join(
            f"--{name.replace('_', '-')} {each}"
            for name, values in given
            for each in ([values] if isinstance(values, str) else values)
            if each
        )


class Known(NamedTuple):
    """What was known at a moment: the batches up to one, and decisions until `at`, with a hash of them."""

    batch: int
    at: str
    loaded_at: str
    fingerprint: str


class Merge(NamedTuple):
    """A merge: the landing table to which such are delivered, the ids by its columns, and what it declares."""

    table: Entity
    ids: dict[str, str]
    declaration: dict[str, str]


def known_at(cursor: Any, asked: str) -> Known:
    """Return what was known at the end of a day, after a batch, when a build began, or now. Raises GranaryError."""
    cursor.execute("select to_regclass('raw._brands') is not null")
    if not cursor.fetchone()[0]:
        raise GranaryError("nothing is loaded yet: run bin/ingest")
    kind = kind_of(asked)
    cursor.execute(f"select batch, at::text from ({MOMENTS[kind]}) as moments (batch, at)", {"asked": asked})
    found = cursor.fetchall()
    if kind == "batch" and not found:
        raise GranaryError(f"there is no batch {asked}: marts.load_audit lists them")
    if kind == "build" and len(found) != 1:
        which = "several builds have ids" if found else "no build has an id"
        raise GranaryError(f"{which} that begin with {asked}: marts.build_log lists them")
    ((batch, at),) = found
    cursor.execute(FIRST_LOAD)
    first = cursor.fetchone()
    if not first or (batch or 0) < first[0]:
        ended = f"the first load, of batch {first[0]}, ended at {first[1]} UTC" if first else "run bin/ingest"
        raise GranaryError(f"nothing was loaded {f'as of {asked}' if asked else 'yet'}: {ended}")
    cursor.execute(KNOWN, {"batch": batch, "at": at})
    return Known(*cursor.fetchone())


def kind_of(asked: str) -> str:
    """Return which of MOMENTS a text names. Raises GranaryError if it names none."""
    if not asked or read_day(asked):
        return asked and "day"
    if re.fullmatch("[0-9]{1,18}", asked):
        return "batch"
    if re.fullmatch("[0-9a-f-]{4,36}", asked) and not re.match("[0-9]{1,4}-[0-9]{1,2}(-|$)", asked):
        return "build"
    ways = "a day such as 2026-02-03, the number of a batch, or the beginning of a build_id"
    raise GranaryError(f"invalid moment {asked}: choose {ways}")


def check(cursor: Any, asked: Circumstances, known: Known, root: Path) -> None:
    """Raise GranaryError if a mart, a batch or a merge to ignore doesn't exist."""
    check_marts(asked.select, root)
    for batch in asked.without_batch:
        cursor.execute("select from raw._batches where batch_id = %s and batch_id <= %s", [batch, known.batch])
        if not cursor.rowcount:
            raise GranaryError(f"--without-batch {batch}: there is no such batch up to {known.batch}")
    for merge in asked.ignore_merge:
        table, ids, _ = merge_of(merge, root)
        query = sql.SQL("select from raw.{} where btrim({}) = %s and btrim({}) = %s and _batch_id <= %s limit 1")
        cursor.execute(query.format(*map(sql.Identifier, (table.table, *ids))), [*ids.values(), known.batch])
        if not cursor.rowcount:
            raise GranaryError(f"--ignore-merge {merge}: no such merge was delivered up to batch {known.batch}")
    if len({merge_of(merge, root).table.table for merge in asked.merge}) > 1:
        raise GranaryError("--merge: the merges of a copy have to be of one feed")


def check_marts(chosen: Sequence[str], root: Path = ROOT) -> dict[str, Mart]:
    """Return the marts of a project. Raises GranaryError if one that was chosen isn't among them."""
    marts = {name: mart for name, mart in declared.marts(root / "dbt" / "models").items() if mart.columns}
    if unknown := [name for name in chosen if name not in marts]:
        raise GranaryError(f"there is no mart {unknown[0]}: choose from {', '.join(marts)}")
    return marts


def merge_of(merge: str, root: Path) -> Merge:
    """Return the merge A:B, or FEED:A:B. Raises GranaryError if there can't be such."""
    *feed, one, other = merge.split(":") if merge.count(":") in (1, 2) else ("", "")
    if not one or not other:
        raise GranaryError(f"invalid merge {merge}: write A:B if A was merged into B")
    entities = declared.declarations(root / "dbt" / "models")[0].values()
    found = [each for each in entities if each.meta.get("merges") and (not feed or each.feed == feed[0])]
    if not found:
        raise GranaryError(f"merge {merge}: no landing table declares `merges` in its meta (docs/questions.md#copies)")
    if len(found) > 1:
        feeds = " or ".join(f"{each.feed}:{merge}" for each in found)
        raise GranaryError(f"merge {merge}: several feeds declare `merges`: write {feeds}")
    (table,), declaration = found, found[0].meta["merges"]
    columns = [declaration.get(key) for key in ("from", "to", "at")] if isinstance(declaration, dict) else [""]
    if not {*columns} <= {*table.columns} or declaration.get("ignored_in") not in seed_files(root):
        takes = "`from`, `to` and `at`, which are columns, and `ignored_in`, which is a seed"
        raise GranaryError(f"{table.path}: table {table.name}: `merges` takes {takes}")
    return Merge(table, {columns[0]: one, columns[1]: other}, declaration)


# -- Seeds -------------------------------------------------------------------------------------------------------------


def read_seeds(options: list[str]) -> dict[str, str]:
    """Return what the files of seeds hold, from NAME=FILE. Raises GranaryError if one can't be read."""
    found = {}
    for option in options:
        name, equals, path = option.partition("=")
        if not equals:
            raise GranaryError(f"--seed {option}: write NAME=FILE")
        try:
            found[name] = Path(path).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise GranaryError(f"--seed {name}: can't read {path}: {reason}") from None
    return found


def seed_files(root: Path) -> dict[str, Path]:
    """Return the file of each seed of a project."""
    return {path.stem: path for path in sorted((root / "dbt" / "seeds").rglob("*.csv"))}


def seeds_of(asked: Circumstances, root: Path) -> dict[str, str]:
    """Return what the seeds that differ from the project's hold. Raises GranaryError if that can't be a seed's."""
    files, found = seed_files(root), dict(asked.seed)
    for name, text in found.items():
        if name not in files:
            raise GranaryError(f"--seed {name}: there is no such seed: choose from {', '.join(files)}")
        header, rows = csv_of(text, name)
        needed, _ = csv_of(files[name].read_text("utf-8-sig"), name)
        if sorted(header) != sorted(needed):
            raise GranaryError(f"--seed {name}: the file has the columns {', '.join(header)}, not {', '.join(needed)}")
        if wrong := next((row for row in rows if len(row) != len(header)), None):
            fields = f"{len(wrong)} fields, and the header {len(header)}"
            raise GranaryError(f"--seed {name}: the row {','.join(wrong)} has {fields}")
    for merge in asked.ignore_merge:
        _, ids, declaration = merge_of(merge, root)
        name = declaration["ignored_in"]
        header, rows = csv_of(found.get(name) or files[name].read_text("utf-8-sig"), name)
        if missing := ids.keys() - {*header}:
            raise GranaryError(f"--ignore-merge {merge}: the seed {name} needs the column {min(missing)}")
        if not any(ids.items() <= dict(zip(header, row, strict=False)).items() for row in rows):
            rows.append([ids.get(column, "bin/copy --ignore-merge") for column in header])
        csv.writer(written := io.StringIO(), lineterminator="\n").writerows([header, *rows])
        found[name] = written.getvalue()
    return found


def csv_of(text: str, name: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a seed's text. Raises GranaryError if it isn't CSV."""
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        return header, rows
    except (csv.Error, ValueError) as error:
        reason = error if isinstance(error, csv.Error) else "it has no header"
        raise GranaryError(f"seed {name}: the file is not valid CSV: {reason}") from None
