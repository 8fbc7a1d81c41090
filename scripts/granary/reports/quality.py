"""Write the quality report: one page that says whether the warehouse can be trusted today, and where it can not.

usage: scripts/in_venv.sh granary.reports.quality [--output FILE]        (or: make report)

Writes output/quality_report.html (or FILE): the latest build, how fresh each table is, what became of each delivered
row and of the money, what was rejected, every test with its SQL and the rows that fail it, what `make expectations`
found, columns that nobody declared, each mart that declares a section (`meta.quality_report`), and the last builds. The
page needs no server and no network; docs/quality.md explains its parts.

It only reads: dbt's artifacts (dbt/target, or where DBT_TARGET_PATH says) and the warehouse. It is a report, so the
exit code is 0 when tests failed. With GRANARY_SCHEMA_PREFIX, the marts are those of the second copy.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2
import psycopg2
from markupsafe import Markup, escape
from psycopg2 import sql

from granary import declared
from granary.project import ROOT, TEST_RESULTS, GranaryError, load_env, replacing, run_main, target_directory
from granary.server.connection import connect

PAGE = ROOT / "output" / "quality_report.html"
TEMPLATES = Path(__file__).with_name("templates")

TESTED_BY = ("build", "retry", "test")  # the commands of dbt that run tests
SELECTORS = ("select", "exclude")  # the options that make them run a part
FAILING_ROWS = 10  # shown of each test that failed
TIMEOUT = "30s"  # of the SQL of one failed test
REASONS, SAMPLES = 50, 5  # shown of what was rejected: reasons, and values of each
SHOWN_TEXT = 300  # characters of a delivered value
BUILDS = 30
BARS = 90  # of a mart's section

TOTALS = """
    select
        count(*) filter (where status = 'loaded') as batch_count,
        count(*) filter (where status = 'failed') as failed_count,
        count(*) filter (where status = 'replaced') as replaced_count,
        coalesce(sum(rows_read_count) filter (where status = 'loaded'), 0) as read_count,
        coalesce(sum(rows_staged_count) filter (where status = 'loaded'), 0) as used_count,
        coalesce(sum(lines_rejected_count + rows_rejected_count) filter (where status = 'loaded'), 0)
            as rejected_count
    from {marts}.load_audit
"""
LOADED_AT = """
    select feed, entity, max(finished_at) as loaded_at, clock_timestamp() - max(finished_at) as age
    from raw._batches
    where status = 'loaded'
    group by feed, entity
"""
# A null batch_id stands for the feed as a whole.
BATCHES = """
    select audit.feed, audit.batch_id, max(audit.entity) as entity, max(audit.file_path) as file_path,
        max(audit.status) as status, max(audit.error) as error, max(audit.replaced_by_batch_id) as replaced_by_batch_id,
        count(*) as batch_count,
        sum(audit.rows_read_count) as read_count, sum(audit.lines_rejected_count) as lines_rejected_count,
        sum(audit.rows_loaded_count) as loaded_count, sum(audit.rows_rejected_count) as rows_rejected_count,
        sum(audit.rows_staged_count) as staged_count, sum(usage.rows_superseded_count) as superseded_count,
        sum(usage.rows_current_count) as current_count
    from {marts}.load_audit as audit
    left join {usage} as usage on usage.batch_id = audit.batch_id
    group by grouping sets ((audit.feed, audit.batch_id), (audit.feed))
    order by audit.feed, audit.batch_id nulls first
"""
NO_USAGE = (
    "(select null::bigint as batch_id, null::bigint as rows_superseded_count, null::bigint as rows_current_count)"
)
MONEY = """
    select feed, measure, measure_title, step_number, step_name, step_title, is_total, amount_usd, difference_usd,
        row_count, rows_without_amount_count
    from {marts}.money_reconciliation
    order by feed, measure, step_number
"""
REJECTIONS = """
    select reason, explanation, severity, reject_count, file_path, line_number, column_name, delivered_value
    from (
        select *,
            count(*) over (partition by reason, explanation, severity) as reject_count,
            row_number() over (
                partition by reason, explanation, severity order by _batch_id, line_number, column_name
            ) as sample_number
        from {marts}.rejected_rows
    ) as ranked
    where sample_number <= %s
    order by reject_count desc, reason, explanation, severity, sample_number
"""
UNSEEN = """
    select count(*) as unseen_count
    from raw._batches
    where feed = any(%s) and status = 'loaded' and batch_id <> all(%s)
"""
COLUMNS = """
    select attname
    from pg_attribute
    where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attname not in ('_batch_id', '_row_id')
    order by attnum
"""
FIRST_FILLED = """
    select filled.row_count, filled.batch_id, batches.path
    from (
        select count(*) as row_count, min(_batch_id) as batch_id from {table} where {column} <> ''
    ) as filled
    left join raw._batches as batches on batches.batch_id = filled.batch_id
"""
IS_FILLED = "select exists (select 1 from {table} where {column} <> ''), exists (select 1 from {table})"
LATEST = "select {columns} from {table} order by 1 desc nulls last limit %s"
LAST_BUILDS = """
    select *
    from (
        select build_id, command, selection, status, is_full_refresh, models_built_count, tests_passed_count,
            tests_warned_count, tests_failed_count, error_count, started_at, finished_at,
            tests_passed_count + tests_warned_count + tests_failed_count + error_count as tests,
            round(extract(epoch from finished_at - started_at), 1) as seconds
        from {marts}.build_log
        where schema_prefix = %s
        order by finished_at desc, build_id
        limit %s
    ) as latest
    order by finished_at, build_id
"""
ORDER = ["error", "fail", "warn", "skipped", "pass"]


class NothingToReport(GranaryError):
    """Nothing was built yet; the message says what is missing, and how to build it."""


def main() -> int:
    """Write the page and say where it is."""
    parser = argparse.ArgumentParser(
        prog="scripts/in_venv.sh granary.reports.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=argparse.SUPPRESS,
    )
    parser.add_argument("--output", metavar="FILE", type=Path, default=PAGE, help="where to write the page")
    path = parser.parse_args().output
    load_env()
    target = target_directory()
    try:
        manifest, results = read(target / "manifest.json"), read_test_results(target)
        with contextlib.closing(connect()) as connection:
            connection.set_session(isolation_level="repeatable read", readonly=True)
            page = render(gather(connection, manifest, results, path.parent / "expectations"))
    except NothingToReport as reason:
        print(f"quality report: nothing to report yet: {reason}")
        return 0
    try:
        with replacing(path) as file:
            file.write(page.encode())
    except OSError as error:
        raise GranaryError(f"can't write {path}: {error.strerror}; name another one with --output") from None
    print(f"quality report: {path}")
    return 0


def read(path: Path) -> dict[str, Any]:
    """Return what dbt has written to a file."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NothingToReport(f"dbt has not come to write {path}. Run this first:  bin/dbt build") from None
    except (OSError, ValueError) as error:
        raise GranaryError(f"{path} can't be read ({error}). Let dbt write it again:  bin/dbt build") from None


def read_test_results(target: Path) -> dict[str, Any]:
    """Return the results of the last command that ran tests: dbt's own, unless another command wrote over them.

    `not_rebuilt` is added: the models that it left as they were, because something before them failed.
    """
    path = target / "run_results.json"
    latest = read(path) if path.exists() else None
    results = latest if latest and latest["args"].get("which") in TESTED_BY else read(target / TEST_RESULTS)
    left = models_of(results, "error", "skipped")
    if latest and latest["args"].get("which") == "run":  # it may have made good for them
        left -= models_of(latest, "success")
    return results | {"not_rebuilt": left}


def models_of(results: dict[str, Any], *statuses: str) -> set[str]:
    """Return the names of the models that ended in one of the statuses."""
    return {
        result["unique_id"].split(".")[2]
        for result in results["results"]
        if result["unique_id"].startswith("model.") and result["status"] in statuses
    }


def render(parts: dict[str, Any], template: str = "quality_report.html") -> str:
    """Return a page, made from one of the templates."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": lambda value: "–" if value is None else f"{value:,}",
        "usd": lambda value: f"{value:,.2f}".replace("-", "−"),
        "when": lambda value: value.strftime("%Y-%m-%d %H:%M") if value else "never",
        "share": share,
        "seconds": lambda value: f"{value:.2f} s" if value < 10 else f"{value:.0f} s",
        "prose": lambda text: Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(" ".join(text.split()))))),
        "label": lambda column: column.meta.get("label") or column.name.replace("_", " "),
        "shortened": lambda text: text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]} …",
    }
    return environment.get_template(template).render(parts)


def share(value: Any, whole: Any) -> str:
    """Return a part in percent of the whole, for the width or height of a bar; 0 of nothing."""
    return f"{max(0.0, 100 * float(value) / float(whole)) if whole else 0.0:.3f}"


# -- From dbt's files and the warehouse to the parts of the page -------------------------------------------------------


def gather(
    connection: psycopg2.extensions.connection, manifest: dict[str, Any], results: dict[str, Any], checked: Path
) -> dict[str, Any]:
    """Return everything that the page shows, in the order of its sections. What is not built is None.

    `checked` is the directory in which `make expectations` leaves its results.
    """
    with connection.cursor() as cursor:
        if (totals := query(cursor, TOTALS, "load_audit")) is None or not exists(cursor, "build_log"):
            raise NothingToReport("the warehouse isn't built. Run:  bin/ingest; bin/dbt build")
        builds = query(cursor, LAST_BUILDS, "build_log", parameters=[prefix(), BUILDS])
        parts = {
            "made_at": datetime.datetime.now(datetime.timezone.utc),
            "totals": totals[0],
            "builds": builds,
            "latest": builds[-1] if builds else None,
            "freshness": freshness(cursor, manifest),
            "feeds": feeds(cursor),
            "money": money(cursor),
            "rejections": rejections(cursor),
            "expectations": expectations(cursor, checked, manifest),
            "schema": schema_changes(cursor, manifest),
            "sections": [section(cursor, mart) for mart in declared.marts().values() if "quality_report" in mart.meta],
        }
    tests = tests_of(connection, manifest, results)
    return parts | {
        "tests": tests,
        "counts": Counter(test["status"] for test in tests),
        "command": command_of(results),
        "is_partial": any(results["args"].get(key) for key in SELECTORS),
        "not_rebuilt": results["not_rebuilt"],
        "tested_at": datetime.datetime.fromisoformat(results["metadata"]["generated_at"].replace("Z", "+00:00")),
        "shown_rows": FAILING_ROWS,
        "shown_reasons": REASONS,
    }


def prefix() -> str:
    """Return the prefix of the schemas that are reported on."""
    return os.environ.get("GRANARY_SCHEMA_PREFIX") or ""


def exists(cursor: Any, mart: str) -> bool:
    """Return whether a mart has been built."""
    cursor.execute("select to_regclass(%s)", [sql.Identifier(prefix() + "marts", mart).as_string(cursor)])
    return cursor.fetchone()[0] is not None


def query(
    cursor: Any, text: str, *marts: str, parameters: Sequence[Any] = (), **names: sql.Composable
) -> list[dict[str, Any]] | None:
    """Return the rows of a query, or None when a mart that it reads is missing. `names` are put in as they are."""
    if not all(exists(cursor, mart) for mart in marts):
        return None
    cursor.execute(sql.SQL(text).format(marts=sql.Identifier(prefix() + "marts"), **names), parameters or None)
    names_of_columns = [column.name for column in cursor.description]
    return [dict(zip(names_of_columns, row, strict=True)) for row in cursor.fetchall()]


def landing_sources(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources that bin/ingest loads, by feed, in the order in which they are declared."""
    landing = [source for source in manifest["sources"].values() if source["loader"] == "bin/ingest"]
    return sorted(landing, key=lambda source: source["source_name"])


def freshness(cursor: Any, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return when each source table was last loaded, against what its YAML promises."""
    loaded = {(row["feed"], row["entity"]): row for row in query(cursor, LOADED_AT)}
    tables = []
    for source in landing_sources(manifest):
        row = loaded.get((source["source_name"], source["name"]), {"loaded_at": None, "age": None})
        warn_after, error_after = (period_of(source, key) for key in ("warn_after", "error_after"))
        tables.append(
            {
                "name": source["identifier"],
                "loaded_at": row["loaded_at"],
                "age": row["age"],
                "age_in_words": in_units(row["age"]) if row["age"] is not None else None,
                "warn_after": warn_after,
                "error_after": error_after,
                "promise": " / ".join(in_units(period) for period in (warn_after, error_after) if period) or "none",
                "state": state_of(row["age"], warn_after, error_after),
            }
        )
    return tables


def period_of(source: dict[str, Any], key: str) -> datetime.timedelta | None:
    """Return warn_after or error_after of a source, if it has one."""
    period = (source["freshness"] or {}).get(key) or {}
    if not period.get("count"):
        return None
    return datetime.timedelta(**{f"{period['period']}s": period["count"]})


def state_of(
    age: datetime.timedelta | None, warn_after: datetime.timedelta | None, error_after: datetime.timedelta | None
) -> str:
    """Return how a table keeps its promise, in a word."""
    if age is None:
        return "never loaded"
    if error_after and age > error_after:
        return "broken"
    if warn_after and age > warn_after:
        return "late"
    return "fresh" if warn_after or error_after else "no promise"


def in_units(period: datetime.timedelta) -> str:
    """Return a period in its largest unit of which there are two: 36 hours, 7 days."""
    seconds = period.total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}s"
    return f"{int(seconds)} seconds"


def feeds(cursor: Any) -> list[dict[str, Any]]:
    """Return the feeds, each with its sums and its batches."""
    mart = sql.Identifier(prefix() + "marts", "batch_usage")
    usage = mart if exists(cursor, "batch_usage") else sql.SQL(NO_USAGE)
    found: list[dict[str, Any]] = []
    for row in query(cursor, BATCHES, "load_audit", usage=usage):
        if row["batch_id"] is None:
            found.append(row | {"batches": []})
        else:
            found[-1]["batches"].append(row | {"adds_up": adds_up(row)})
    return [feed | {"adds_up": all(batch["adds_up"] for batch in feed["batches"])} for feed in found]


def adds_up(row: dict[str, Any]) -> bool:
    """Return whether no row of a batch got lost: read, loaded, staged, and what a current version comes from."""
    known = row["superseded_count"] is not None
    return (
        row["read_count"] == row["loaded_count"] + row["lines_rejected_count"]
        and row["loaded_count"] == row["staged_count"] + row["rows_rejected_count"]
        and (not known or row["staged_count"] == row["current_count"] + row["superseded_count"])
    )


def money(cursor: Any) -> list[dict[str, Any]] | None:
    """Return the measures of money, each with its steps and what its bars need; None where the mart is missing."""
    if (steps := query(cursor, MONEY, "money_reconciliation")) is None:
        return None
    measures: dict[tuple[str, str], dict[str, Any]] = {}
    for step in steps:
        key = (step["feed"], step["measure"])
        measure = measures.setdefault(
            key, {"feed": key[0], "name": key[1], "title": step["measure_title"], "steps": []}
        )
        # A total stands on zero; what is taken away hangs from where the step before it ended.
        before = measure["steps"][-1]["end"] if measure["steps"] else Decimal(0)
        step["start"] = Decimal(0) if step["is_total"] else before
        step["end"] = step["start"] + step["amount_usd"]
        measure["steps"].append(step)
    for measure in measures.values():
        ends = [step[end] for step in measure["steps"] for end in ("start", "end")]
        measure["low"], measure["high"] = min(0, *ends), max(0, *ends)
        measure["is_reconciled"] = not any(step["difference_usd"] for step in measure["steps"])
    return list(measures.values())


def rejections(cursor: Any) -> list[dict[str, Any]] | None:
    """Return the reasons for which something was rejected, the most frequent first, each with samples."""
    if (rows := query(cursor, REJECTIONS, "rejected_rows", parameters=[SAMPLES])) is None:
        return None
    reasons: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["reason"], row["explanation"], row["severity"])
        reason = reasons.setdefault(key, row | {"samples": []})
        reason["samples"].append(row)
    return list(reasons.values())


def expectations(cursor: Any, directory: Path, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return what Great Expectations found in the raw tables of today's feeds, and how many batches came since.

    None if it was never asked.
    """
    path = directory / "results.json"
    if not path.exists():
        return None
    try:
        results = json.loads(path.read_text("utf-8"))
        results["checked_at"] = datetime.datetime.fromisoformat(results["checked_at"])
        (unseen,) = query(cursor, UNSEEN, parameters=[results["feeds"], results["batch_ids"]])
    except (OSError, ValueError, KeyError) as error:
        raise GranaryError(f"{path} can't be read ({error}). Run this again:  make expectations") from None
    declared_tables = {source["identifier"] for source in landing_sources(manifest)}
    tables = [table for table in results["tables"] if table["table"] in declared_tables]
    return results | unseen | {"tables": tables} if tables else None


def schema_changes(cursor: Any, manifest: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return columns of raw tables that no source declares, and declared ones that no delivered row ever filled."""
    new, empty = [], []
    for source in landing_sources(manifest):
        name = source["identifier"]
        table = sql.Identifier("raw", name)
        cursor.execute(COLUMNS, [table.as_string(cursor)])
        columns = [column for (column,) in cursor.fetchall()]
        for column in columns:
            names = {"table": table, "column": sql.Identifier(column)}
            if column not in source["columns"]:
                new.append({"table": name, "column": column} | query(cursor, FIRST_FILLED, **names)[0])
            else:
                cursor.execute(sql.SQL(IS_FILLED).format(**names))
                is_filled, has_rows = cursor.fetchone()
                empty += [] if is_filled else [{"table": name, "column": column, "has_rows": has_rows}]
    return {"new": new, "empty": empty}


def section(cursor: Any, mart: declared.Mart) -> dict[str, Any]:
    """Return the section that a mart declares: its only row as figures, or one bar for each of its last rows.

    `rows` is None if the mart is not built, or was built without one of the columns. Raises GranaryError if the
    declaration can't be used.
    """
    spec = mart.meta["quality_report"] if isinstance(mart.meta["quality_report"], dict) else {}
    columns = {column.name: column for column in mart.public_columns}
    names = {"figures": [*columns], "bars": [spec.get("x"), spec.get("y")]}.get(spec.get("as"))
    if not spec.get("title") or not names or not columns.keys() >= set(names):
        need = "`title`, and `as: figures`, or `as: bars` with two of the mart's columns as `x` and `y`"
        raise GranaryError(f"{mart.path}: meta.quality_report needs {need}")
    found = spec | {"mart": mart.name, "columns": [columns[name] for name in names], "rows": None}
    table = sql.Identifier(prefix() + "marts", mart.name)
    cursor.execute(COLUMNS, [table.as_string(cursor)])
    if {name for (name,) in cursor.fetchall()} >= set(names):
        selected = sql.SQL(", ").join(map(sql.Identifier, names))
        limit = BARS if spec["as"] == "bars" else 1
        found["rows"] = query(cursor, LATEST, table=table, columns=selected, parameters=[limit])[::-1]
    return found


# -- Tests -------------------------------------------------------------------------------------------------------------


def tests_of(
    connection: psycopg2.extensions.connection, manifest: dict[str, Any], results: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the tests of a command, with their results: failed ones first, the others by model."""
    nodes = manifest["nodes"] | manifest["unit_tests"]
    tests = []
    for result in results["results"]:
        kind = result["unique_id"].split(".")[0]
        if kind in ("test", "unit_test"):
            node = nodes.get(result["unique_id"])
            test = {
                "id": result["unique_id"],
                "name": node["name"] if node else result["unique_id"].split(".")[2],
                "about": about(node),
                "model": model_of(node, manifest),
                "kind": kind.replace("_", " "),
                "status": result["status"],
                "failures": result["failures"],
                "message": result["message"],
                "seconds": result["execution_time"],
                "sql": (result.get("compiled_code") or "").strip(),
                "failing": None,
            }
            if kind == "test" and test["status"] in ("fail", "warn"):
                test["failing"] = failing_rows(connection, test["sql"])
            tests.append(test)
    place = {status: number for number, status in enumerate(ORDER)}
    return sorted(tests, key=lambda test: (place.get(test["status"], -1), test["model"], test["name"]))


def about(node: dict[str, Any] | None) -> str:
    """Return what a test holds true: its description, or else its kind with its arguments."""
    if node is None or node["description"]:
        return " ".join(node["description"].split()) if node else ""
    if not (metadata := node.get("test_metadata")):  # its name says all there is to say
        return ""
    given = {key: value for key, value in metadata["kwargs"].items() if key not in ("model", "column_name")}
    words = " ".join([node.get("column_name") or "", metadata["name"].replace("_", " ")]).strip()
    return ", ".join([words, *(f"{key.replace('_', ' ')} `{value}`" for key, value in given.items())])


def model_of(node: dict[str, Any] | None, manifest: dict[str, Any]) -> str:
    """Return the table that a test is about; several, where it compares them."""
    if node is None:
        return "gone from the project"
    if node["resource_type"] == "unit_test":
        return node["model"]
    attached = node.get("attached_node")
    tables = manifest["nodes"] | manifest["sources"]
    names = [tables[key]["name"] for key in ([attached] if attached else node["depends_on"]["nodes"]) if key in tables]
    return names[0] if len(names) == 1 else "several tables"


def failing_rows(connection: psycopg2.extensions.connection, text: str) -> dict[str, Any]:
    """Return the first rows that fail a test, as they are now, or why they can't be had."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("savepoint failing")
            cursor.execute("select set_config('statement_timeout', %s, true)", [TIMEOUT])
            cursor.execute(f"select * from (\n{text}\n) as failing limit {FAILING_ROWS}")  # dbt's own SQL, which it ran
            return {
                "columns": [column.name for column in cursor.description],
                "rows": cursor.fetchall(),
                "problem": None,
            }
    except psycopg2.errors.UndefinedTable as error:
        problem = f"A table that it reads is gone ({error.diag.message_primary}): bin/dbt build makes it again."
    except psycopg2.Error as error:
        problem = f"Its rows can't be had: {error.diag.message_primary or str(error).strip()}"
    with connection.cursor() as cursor:
        cursor.execute("rollback to savepoint failing")
    return {"columns": [], "rows": [], "problem": problem}


def command_of(results: dict[str, Any]) -> str:
    """Return the command of dbt that ran the tests."""
    given = results["args"]
    selected = [f"--{key} {' '.join(given[key])}" for key in SELECTORS if given.get(key)]
    return " ".join(["dbt", given["which"], *selected])


if __name__ == "__main__":
    run_main(main)
