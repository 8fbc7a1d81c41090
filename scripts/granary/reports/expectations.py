"""Check the shop's raw tables with Great Expectations: keys, formats, ranges, and what belongs together.

usage: scripts/in_venv.sh granary.reports.expectations [--batch NUMBER ...] [--output DIRECTORY]

Looks at what was delivered, as it was delivered, in the batches that are in use; granary/feeds/shop/expectations.py
says what is expected. Writes output/expectations/index.html, and results.json for the quality report, which links to
it. Nothing is asked of the network, and nothing is written to the warehouse.

The exit code is 1 where a critical expectation is not met. Warnings are shown, and stop nothing: see docs/quality.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2
import yaml

from granary.project import ROOT, GranaryError, check_packages, load_env, replacing, run_main
from granary.reports.quality import render
from granary.server.connection import connect, environment

SOURCES = ROOT / "dbt" / "models" / "staging" / "shop" / "_shop__sources.yml"
DIRECTORY = ROOT / "output" / "expectations"
PAGE, RESULTS = "index.html", "results.json"
SAMPLES, SHOWN_TEXT = 10, 200  # unexpected values shown of each expectation, and characters of a value
STATES = ["critical", "warning", "tolerated", "met"]

BATCHES = """
    select entity, batch_id
    from raw._batches
    where feed = 'shop' and status = 'loaded' and (%(wanted)s::bigint[] is null or batch_id = any(%(wanted)s))
    order by batch_id
"""


def main() -> None:
    """Check, write the page, and say what was found."""
    options = parse_arguments()
    load_env()
    check_packages("quality", "expectations", "great_expectations", "sqlalchemy")
    columns = declared_columns()
    batches = batches_in_use(options.batch)
    results = {
        "checked_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "batch_ids": sorted(batch for numbers in batches.values() for batch in numbers),
        "is_partial": bool(options.batch),
        "tables": check({name: columns[name] for name in columns if not options.batch or name in batches}, batches),
    }
    write(options.output, results)
    say(results, options.output)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/in_venv.sh granary.reports.expectations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--batch", metavar="NUMBER", type=int, nargs="+", help="only these batches (default: all in use)"
    )
    parser.add_argument("--output", metavar="DIRECTORY", type=Path, default=DIRECTORY, help="where to write the page")
    return parser.parse_args()


def declared_columns() -> dict[str, list[dict[str, Any]]]:
    """Return of each table of the shop what the source declares of its columns."""

    def declared(column: dict[str, Any]) -> dict[str, Any]:
        meta = column.get("config", {}).get("meta", {})
        parse, default, required = meta.get("parse", "text"), meta.get("default"), meta.get("required", False)
        return {"name": column["name"], "parse": parse, "default": default, "required": required}

    (source,) = yaml.safe_load(SOURCES.read_text("utf-8"))["sources"]
    return {table["name"]: [declared(column) for column in table["columns"]] for table in source["tables"]}


def batches_in_use(wanted: Sequence[int] | None) -> dict[str, list[int]]:
    """Return the batches to check, by entity. What is loaded while they are being checked isn't among them.

    Raises GranaryError if there are none, or not all that are wanted, or they may not be read.
    """
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("select to_regclass('raw._batches') is not null")
            cursor.execute(BATCHES if cursor.fetchone()[0] else "select where false", {"wanted": wanted})
        except psycopg2.errors.InsufficientPrivilege:
            raise GranaryError(
                f"{connection.info.user!r} may not read raw; set PGUSER to one who may, such as the one who loads"
            ) from None
        found = cursor.fetchall()
    if missing := set(wanted or ()) - {batch for _, batch in found}:
        raise GranaryError(f"no batch {min(missing)} of the shop is in use; the quality report lists them")
    if not found:
        raise GranaryError("nothing of the shop is loaded yet. Run this first:  bin/ingest shop")
    batches: dict[str, list[int]] = {}
    for entity, batch in found:
        batches.setdefault(entity, []).append(batch)
    return batches


# -- Great Expectations ------------------------------------------------------------------------------------------------


def check(
    tables: Mapping[str, Sequence[Mapping[str, Any]]], batches: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """Run the checkpoint: one suite per table. Return what came of each expectation."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before the import: no release may report on us
    # libpq reads the rest from the environment: sockets, paths with spaces and passwords come in no address.
    options = "-c default_transaction_read_only=on -c timezone=UTC"
    os.environ |= environment() | {"PGOPTIONS": f"{os.environ.get('PGOPTIONS', '')} {options}".strip()}

    import great_expectations as gx

    from granary.feeds.shop import expectations as shop_expectations

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_sql("warehouse", connection_string="postgresql+psycopg2://")
    validations = []
    for entity, columns in tables.items():
        asset = source.add_query_asset(entity, shop_expectations.query(entity, columns, batches.get(entity, [])))
        suite = gx.ExpectationSuite(entity, expectations=shop_expectations.suite(entity, columns))
        batch = asset.add_batch_definition_whole_table("batches in use")
        definition = gx.ValidationDefinition(name=entity, data=batch, suite=context.suites.add(suite))
        validations.append(context.validation_definitions.add(definition))
    checkpoint = gx.Checkpoint(
        name="shop",
        validation_definitions=validations,
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": SAMPLES,
            "unexpected_index_column_names": ["file", "line"],
        },
    )
    done = context.checkpoints.add(checkpoint).run()
    return [table_of(f"shop__{result.suite_name}", result.to_json_dict()) for result in done.run_results.values()]


def table_of(name: str, validation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came of a table's suite: its rows, and its expectations, those that are not met first."""
    expectations = sorted(
        map(expectation_of, validation["results"]), key=lambda found: (STATES.index(found["state"]), found["column"])
    )
    counts = Counter(found["state"] for found in expectations)
    return {
        "table": name,
        "row_count": max(found["checked"] for found in expectations),
        "counts": {state: counts[state] for state in STATES},
        "expectations": expectations,
    }


def expectation_of(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came of an expectation: `checked` values (rows, for the table as a whole), of them `unexpected`.

    Raises GranaryError if it could not be looked at.
    """
    configuration, result = outcome["expectation_config"], outcome["result"]
    if problem := problem_of(outcome["exception_info"]):
        words = (
            f"{configuration['type']} ({configuration['description']}) can't be looked at: {problem.splitlines()[0]}"
        )
        raise GranaryError(
            f"{words}\nRun bin/ingest if the source was changed, or correct scripts/granary/feeds/shop/expectations.py."
        )
    rule = {key: value for key, value in configuration["kwargs"].items() if key not in ("batch_id", "mostly")}
    count = result.get("element_count", result.get("observed_value")) or 0
    unexpected = result.get("unexpected_count", 0)
    state = "tolerated" if unexpected else "met"
    return {
        "column": configuration["meta"].get("column") or column_of(rule),
        "expected": configuration["description"],
        "state": state if outcome["success"] else configuration["severity"],
        "type": configuration["type"],
        "rule": rule,
        "severity": configuration["severity"],
        "mostly": configuration["kwargs"].get("mostly", 1),
        "checked": count - result.get("missing_count", 0),
        "unexpected": unexpected,
        "samples": samples_of(result),
    }


def column_of(rule: Mapping[str, Any]) -> str:
    """Return the delivered column, or columns, that an expectation is about; none, where it is about the table."""
    names = rule.get("column_list") or [rule[key] for key in ("column", "column_A", "column_B") if key in rule]
    return ", ".join(name.removesuffix("_read") for name in names if name != "file")


def samples_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return unexpected values, each with its file and, where Great Expectations says it, its line."""
    rows = result.get("partial_unexpected_index_list") or result.get("partial_unexpected_list") or []
    return [{"value": value_of(row), "file": row["file"], "line": row.get("line")} for row in rows]


def value_of(row: Mapping[str, Any]) -> str:
    """Return the unexpected values of a row as a short text in one line; an empty one where there is nothing."""
    values = [str(row[name]) for name in row if name not in ("file", "line") and row[name] is not None]
    text = "".join(letter if letter.isprintable() else " " for letter in ", ".join(values)[: SHOWN_TEXT + 1])
    return text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]} …"


def problem_of(exceptions: Mapping[str, Any]) -> str | None:
    """Return why an expectation couldn't be looked at, if so: there may be one exception, or one per metric."""
    each = [exceptions] if "raised_exception" in exceptions else list(exceptions.values())
    return next((one["exception_message"] for one in each if one["raised_exception"]), None)


# -- What people see ---------------------------------------------------------------------------------------------------


def write(directory: Path, results: Mapping[str, Any]) -> None:
    """Write the page and the results."""
    page = render({"results": results, "states": STATES}, "expectations.html")
    for name, text in ((PAGE, page), (RESULTS, json.dumps(results, indent=1, default=str))):
        try:
            with replacing(directory / name) as file:
                file.write(text.encode())
        except OSError as error:
            raise GranaryError(
                f"can't write {directory / name}: {error.strerror}; name another with --output"
            ) from None


def say(results: Mapping[str, Any], directory: Path) -> None:
    """Print a line per table, one per expectation that is not met, and where the page is.

    Raises GranaryError if one of them is critical.
    """
    failed = sum(table["counts"]["critical"] for table in results["tables"])
    for table in results["tables"]:
        met, total = (sum(table["counts"][state] for state in some) for some in (("tolerated", "met"), STATES))
        print(f"{table['table']:<16} {table['row_count']:>6,} rows, {met} of {total} expectations met")
        for found in table["expectations"]:
            if found["state"] in ("critical", "warning"):
                print(f"  {found['state']:<9} {sentence(found)}")
    print(f"expectations: {directory / PAGE}")
    if failed:
        many = "critical expectations are" if failed > 1 else "critical expectation is"
        raise GranaryError(f"{failed} {many} not met; docs/quality.md says what to do")


def sentence(found: Mapping[str, Any]) -> str:
    """Return what is wrong in a line."""
    what = f"{found['column']} {found['expected']}".strip()
    if not found["unexpected"]:  # only the table as a whole can be unexpected without a value that is
        return f"{what}: it has none"
    values = ", ".join(dict.fromkeys(sample["value"] for sample in found["samples"][:3] if sample["value"]))
    counts = f"{found['unexpected']:,} of {found['checked']:,} unexpected, {1 - found['mostly']:.0%} allowed"
    return f"{what}: {counts}{f' ({values})' if values else ''}"


if __name__ == "__main__":
    run_main(main)
