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
import itertools
import json
import operator
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import psycopg2
from markupsafe import Markup, escape
from psycopg2 import sql

from granary import declared
from granary.project import (
    ROOT,
    TEST_RESULTS,
    GranaryError,
    load_env,
    marts_schema,
    run_main,
    schema_prefix,
    target_directory,
    writing,
)
from granary.reports import query
from granary.server.connection import connect
from granary.text import in_units

PAGE = ROOT / "output" / "quality_report.html"
TEMPLATES = Path(__file__).with_name("templates")

TESTED_BY = ("build", "retry", "test")  # the commands of dbt that run tests
FAILING_ROWS = 10  # shown of each test that failed
TIMEOUT = "30s"  # of the SQL of one failed test
REASONS, SAMPLES = 50, 5  # shown of what was rejected: reasons, and values of each
SHOWN_TEXT = 300  # characters of a delivered value
BUILDS = 30
BARS = 90  # of a mart's section
NO_USAGE = (
    "(select null::bigint as batch_id, null::bigint as rows_superseded_count, null::bigint as rows_current_count)"
)
NO_TOTALS = dict.fromkeys(
    ["batch_count", "failed_count", "replaced_count", "read_count", "used_count", "rejected_count"]
)
ORDER = ["error", "fail", "warn", "skipped", "pass"]


class NothingToReport(GranaryError):
    """Nothing was built yet; the message says what is missing, and how to build it."""


def main() -> int:
    """Write the page and say where it is."""
    program, as_written = "scripts/in_venv.sh granary.reports.quality", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(program, argparse.SUPPRESS, __doc__, formatter_class=as_written)
    parser.add_argument("--output", metavar="FILE", type=Path, default=PAGE, help="where to write the page")
    load_env()
    return write(parser.parse_args().output)


def write(path: Path = PAGE) -> int:
    """Write the page and say where it is; return an exit code."""
    target = target_directory()
    try:
        manifest, results = read(target / "manifest.json"), read_test_results(target)
        with contextlib.closing(connect()) as connection:
            connection.set_session(isolation_level="repeatable read", readonly=True)
            page = render(gather(connection, manifest, results, path.parent / "expectations"))
    except NothingToReport as reason:
        print(f"quality report: nothing to report yet: {reason}")
        return 0
    with writing(path, "--output") as file:
        file.write(page.encode())
    print(f"quality report: {path}")
    return 0


def read(path: Path) -> dict[str, Any]:
    """Return what dbt wrote to a file."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NothingToReport(f"dbt has not written {path} yet. Run this first:  bin/dbt build") from None
    except (OSError, ValueError) as error:
        raise GranaryError(f"can't read {path} ({error}). Let dbt write it again:  bin/dbt build") from None


def read_test_results(target: Path) -> dict[str, Any]:
    """Return the results of the last command that ran tests: dbt's own, unless another command wrote over them.

    `not_rebuilt` is added: the models that it left as they were, because something before them failed.
    """
    path = target / "run_results.json"
    latest = read(path) if path.exists() else None
    kept = read(target / TEST_RESULTS) if (target / TEST_RESULTS).exists() or not latest else latest
    is_newer = latest and latest["metadata"]["generated_at"] > kept["metadata"]["generated_at"]
    results = latest if is_newer and latest["args"].get("which") in TESTED_BY else kept
    left = models_of(results, "error", "skipped")
    if latest and latest["args"].get("which") == "run":  # it may have rebuilt them
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
        "period": in_units,
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

    `outdated` says of each mart that another version of the project built why it can't be read. `checked` is the
    directory in which `make expectations` leaves its results.
    """
    sources, outdated = landing_sources(manifest), {}
    with connection.cursor() as cursor:
        if not exists(cursor, "load_audit") or not exists(cursor, "build_log"):
            raise NothingToReport("the warehouse isn't built. Run:  bin/ingest; bin/dbt build")

        def read_mart(mart: str, name: str, values: Any = (), **names: sql.Composable) -> list[dict[str, Any]] | None:
            return rows_of(cursor, outdated, mart, name, values, **names)

        batches = read_mart("load_audit", "batches", usage=sql.SQL(NO_USAGE))
        if batches:
            usage = sql.Identifier(marts_schema(), "batch_usage")
            batches = read_mart("batch_usage", "batches", usage=usage) or batches
        money = read_mart("money_reconciliation", "money")
        rejections = read_mart("rejected_rows", "rejections", [SAMPLES])
        parts = {
            "made_at": datetime.datetime.now(datetime.timezone.utc),
            "totals": (read_mart("load_audit", "totals") or [NO_TOTALS])[0],
            "builds": read_mart("build_log", "builds", [schema_prefix(), BUILDS]) or [],
            "freshness": freshness(cursor, sources),
            "feeds": grouped(batches or [], "feed"),
            "money": money and grouped(money, "feed", "measure"),
            "rejections": rejections and grouped(rejections, "reason", "explanation", "severity"),
            "rejection_states": (read_mart("rejected_rows", "rejection_states") or [None])[0],
            "shares": read_mart("rejected_shares", "shares") or [],
            "expectations": expectations(cursor, checked, sources),
            "schema": schema_changes(cursor, sources),
            "sections": [section(cursor, mart) for mart in declared.marts().values() if "quality_report" in mart.meta],
        }
    tests = tests_of(connection, manifest, results)
    return parts | {
        "outdated": outdated,
        "tests": tests,
        "counts": Counter(test["status"] for test in tests),
        "args": results["args"],
        "not_rebuilt": results["not_rebuilt"],
        "tested_at": datetime.datetime.fromisoformat(results["metadata"]["generated_at"].replace("Z", "+00:00")),
        "shown_rows": FAILING_ROWS,
        "shown_reasons": REASONS,
    }


def exists(cursor: Any, mart: str) -> bool:
    """Return whether a mart has been built."""
    cursor.execute("select to_regclass(format('%%I.%%I', %s, %s)) is not null", [marts_schema(), mart])
    return cursor.fetchone()[0]


def rows_of(
    cursor: Any, outdated: dict[str, str], mart: str, name: str, values: Any, **names: sql.Composable
) -> list[dict[str, Any]] | None:
    """Return the rows of a query; None if its mart is not built, or lacks a column, which `outdated` then says."""
    if not exists(cursor, mart):
        return None
    cursor.execute("savepoint before")
    try:
        return query(cursor, name, values, **names)
    except psycopg2.errors.UndefinedColumn as error:
        cursor.execute("rollback to savepoint before")
        outdated[mart] = error.diag.message_primary
        return None


def grouped(rows: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """Return the first row of each group of rows with equal keys, with all of the group as `rows`."""
    groups = (list(group) for _, group in itertools.groupby(rows, operator.itemgetter(*keys)))
    return [group[0] | {"rows": group} for group in groups]


def landing_sources(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources that bin/ingest loads, by feed, in the order in which they are declared."""
    landing = [source for source in manifest["sources"].values() if source["loader"] == "bin/ingest"]
    return sorted(landing, key=lambda source: source["source_name"])


def freshness(cursor: Any, sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return when each source table was last loaded, against what its YAML promises."""
    loads = {(row["feed"], row["entity"]): row for row in query(cursor, "last_loads")}
    tables = []
    for source in sources:
        load = loads.get((source["source_name"], source["name"]), {"loaded_at": None, "age": None})
        promise = {key: period_of(source, key) for key in ("warn_after", "error_after")}
        tables.append(load | promise | {"name": source["identifier"], "state": state_of(load["age"], **promise)})
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


def expectations(cursor: Any, directory: Path, sources: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return what Great Expectations found in the raw tables of today's feeds, and how many batches came since.

    None if it was never asked.
    """
    path = directory / "results.json"
    if not path.exists():
        return None
    try:
        results = json.loads(path.read_text("utf-8"))
        results["checked_at"] = datetime.datetime.fromisoformat(results["checked_at"])
        (unseen,) = query(cursor, "unseen", [results["feeds"], results["batch_ids"]])
    except (OSError, ValueError, KeyError) as error:
        raise GranaryError(f"can't read {path} ({error}). Run this again:  make expectations") from None
    declared_tables = {source["identifier"] for source in sources}
    tables = [table for table in results["tables"] if table["table"] in declared_tables]
    return results | unseen | {"tables": tables} if tables else None


def schema_changes(cursor: Any, sources: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return columns of raw tables that no source declares, and declared ones that no delivered row ever filled."""
    new, empty = [], []
    for source in sources:
        table = source["identifier"]
        for column in columns_of(cursor, "raw", table):
            names = {"table": sql.Identifier("raw", table), "column": sql.Identifier(column)}
            found = {"table": table, "column": column}
            if column not in source["columns"]:
                new.append(found | query(cursor, "first_filled", **names)[0])
            elif not (filled := query(cursor, "is_filled", **names)[0])["is_filled"]:
                empty.append(found | filled)
    return {"new": new, "empty": empty}


def columns_of(cursor: Any, schema: str, table: str) -> list[str]:
    """Return the columns of a table without provenance; none if the table is missing."""
    return [row["name"] for row in query(cursor, "columns", [schema, table])]


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
    rows = None
    if set(names) <= set(columns_of(cursor, marts_schema(), mart.name)):
        selected = sql.SQL(", ").join(map(sql.Identifier, names))
        limit = BARS if spec["as"] == "bars" else 1
        table = sql.Identifier(marts_schema(), mart.name)
        rows = query(cursor, "latest", [limit], table=table, columns=selected)[::-1]
    return spec | {"mart": mart.name, "columns": [columns[name] for name in names], "rows": rows}


# -- Tests -------------------------------------------------------------------------------------------------------------


def tests_of(
    connection: psycopg2.extensions.connection, manifest: dict[str, Any], results: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the tests of a command, with their results: failed ones first, the others by model."""
    nodes = manifest["nodes"] | manifest["unit_tests"]
    tests = []
    for result in results["results"]:
        kind, _, name = result["unique_id"].split(".")[:3]
        if kind in ("test", "unit_test"):
            node = nodes.get(result["unique_id"])
            text = (result.get("compiled_code") or "").strip()
            has_rows = kind == "test" and result["status"] in ("fail", "warn")
            tests.append(
                result
                | {
                    "name": node["name"] if node else name,
                    "node": node,
                    "model": model_of(node, manifest),
                    "sql": text,
                    "failing": failing_rows(connection, text) if has_rows else None,
                }
            )
    place = {status: number for number, status in enumerate(ORDER)}
    return sorted(tests, key=lambda test: (place.get(test["status"], -1), test["model"], test["name"]))


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
    """Return the first rows that fail a test, as they are now, or why they can't be shown."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("savepoint failing")
            cursor.execute("select set_config('statement_timeout', %s, true)", [TIMEOUT])
            cursor.execute(f"select * from (\n{text}\n) as failing limit {FAILING_ROWS}")  # dbt's own SQL, which it ran
            columns = [column.name for column in cursor.description]
            return {"columns": columns, "rows": cursor.fetchall(), "problem": None}
    except psycopg2.errors.UndefinedTable as error:
        problem = f"A table that it reads is gone ({error.diag.message_primary}): bin/dbt build creates it again."
    except psycopg2.Error as error:
        problem = f"Its rows can't be read: {error.diag.message_primary or str(error).strip()}"
    with connection.cursor() as cursor:
        cursor.execute("rollback to savepoint failing")
    return {"columns": [], "rows": [], "problem": problem}


if __name__ == "__main__":
    run_main(main)
