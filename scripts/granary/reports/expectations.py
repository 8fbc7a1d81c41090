"""Check raw tables with Great Expectations: keys, formats, ranges, and what belongs together.

usage: scripts/in_venv.sh granary.reports.expectations [--batch NUMBER ...] [--output DIRECTORY]

Looks at the values as the files brought them, in the batches that are in use, of each feed that has a
scripts/granary/feeds/<feed>/expectations.py. Writes output/expectations/index.html, and results.json for the quality
report, which links to it. It asks nothing of the network and writes nothing to the warehouse.

The exit code is 1 if a critical expectation is not met. Warnings are shown and stop nothing: see docs/quality.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2

from granary import declared
from granary.project import ROOT, GranaryError, check_packages, load_env, run_main, writing
from granary.reports import query
from granary.reports.quality import render
from granary.server.connection import connect, environment
from granary.text import printable

DIRECTORY = ROOT / "output" / "expectations"
PAGE, RESULTS = "index.html", "results.json"
SAMPLES, SHOWN_TEXT = 10, 200  # unexpected values shown of each expectation, and characters of a value
STATES = ["critical", "warning", "met"]


def main() -> None:
    """Check, write the page, and say what was found."""
    program, as_written = "scripts/in_venv.sh granary.reports.expectations", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(program, argparse.SUPPRESS, __doc__, formatter_class=as_written)
    parser.add_argument("--batch", metavar="NUMBER", type=int, nargs="+", help="only these (default: all in use)")
    parser.add_argument("--output", metavar="DIRECTORY", type=Path, default=DIRECTORY, help="where to write the page")
    options = parser.parse_args()
    load_env()
    check_packages("quality", "expectations", "great_expectations", "sqlalchemy")
    folder = ROOT / "scripts" / "granary" / "feeds"
    feeds = [feed for feed in declared.feeds() if (folder / feed / "expectations.py").exists()]
    if not feeds:
        print("no feed has expectations, in scripts/granary/feeds/<feed>/expectations.py: there is nothing to check")
        return
    batches = batches_in_use(feeds, options.batch)
    loaded = {feed for feed, _ in batches} if not options.batch else ()
    tables = {key: columns for key, columns in declared_columns().items() if key in batches or key[0] in loaded}
    results = {
        "checked_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "feeds": feeds,
        "batch_ids": sorted(batch for numbers in batches.values() for batch in numbers),
        "is_partial": bool(options.batch),
        "tables": check(tables, batches),
    }
    write(options.output, results)
    say(results, options.output)


def declared_columns() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return what the sources declare of each column, by feed and entity."""
    return {
        (source["name"], table["name"]): [
            {"name": column["name"], "parse": "text", "default": None, "required": False}
            | {key: value for key, value in declared.meta_of(column).items() if value is not None}
            for column in table["columns"]
        ]
        for path, text in declared.yaml_texts(declared.models_directory(), "bin/ingest")
        for source in declared.document_of(path, text).get("sources") or []
        for table in source["tables"]
    }


def batches_in_use(feeds: Sequence[str], wanted: Sequence[int] | None) -> dict[tuple[str, str], list[int]]:
    """Return the batches to check, by feed and entity. Batches that are loaded meanwhile aren't among them.

    Raises GranaryError if there are none, if one that is wanted is missing, or if they may not be read.
    """
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("select to_regclass('raw._batches') is not null")
            is_loaded = cursor.fetchone()[0]
            rows = query(cursor, "batches_in_use", {"feeds": feeds, "wanted": wanted}) if is_loaded else []
        except psycopg2.errors.InsufficientPrivilege:
            raise GranaryError(
                f"{connection.info.user!r} may not read raw: set PGUSER to a user who may, such as the one who loads"
            ) from None
    batches: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        batches.setdefault((row["feed"], row["entity"]), []).append(row["batch_id"])
    if missing := set(wanted or ()).difference(*batches.values()):
        raise GranaryError(f"batch {min(missing)} is not in use, or not one of {', '.join(feeds)}: see make report")
    if not batches:
        raise GranaryError(f"nothing is loaded yet. Run this first:  bin/ingest {' '.join(feeds)}")
    return batches


# -- Great Expectations ------------------------------------------------------------------------------------------------


def check(
    tables: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]], batches: Mapping[tuple[str, str], Sequence[int]]
) -> list[dict[str, Any]]:
    """Run one suite per table, and return what came of each expectation."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before the import: no release may report on us
    # libpq reads the rest from the environment: no address could hold sockets, paths with spaces and passwords.
    options = "-c default_transaction_read_only=on -c timezone=UTC"
    os.environ |= environment() | {"PGOPTIONS": f"{os.environ.get('PGOPTIONS', '')} {options}".strip()}

    import great_expectations as gx

    from granary.reports import expected

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_sql("warehouse", connection_string="postgresql+psycopg2://")
    validations = []
    for (feed, entity), columns in tables.items():
        own, name = importlib.import_module(f"granary.feeds.{feed}.expectations"), f"{feed}__{entity}"
        computed = getattr(own, "COMPUTED", {}).get(entity, {})
        asset = source.add_query_asset(name, expected.query(name, columns, computed, batches.get((feed, entity), [])))
        suite = gx.ExpectationSuite(name, expectations=expected.suite(columns, own.EXPECTATIONS.get(entity, [])))
        batch = asset.add_batch_definition_whole_table("batches in use")
        definition = gx.ValidationDefinition(name=name, data=batch, suite=context.suites.add(suite))
        validations.append(context.validation_definitions.add(definition))
    checkpoint = gx.Checkpoint(
        name="raw",
        validation_definitions=validations,
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": SAMPLES,
            "unexpected_index_column_names": ["file", "line"],
        },
    )
    done = context.checkpoints.add(checkpoint).run()
    return [table_of(result.suite_name, result.to_json_dict()) for result in done.run_results.values()]


def table_of(name: str, validation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came of a table's suite: its rows, and its expectations, those that are not met first."""
    found = [expectation_of(name, outcome) for outcome in validation["results"]]
    counts = Counter(one["state"] for one in found)
    return {
        "table": name,
        "row_count": max(one["checked"] for one in found),
        "counts": {state: counts[state] for state in STATES},
        "expectations": sorted(found, key=lambda one: (STATES.index(one["state"]), one["column"])),
    }


def expectation_of(table: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came of an expectation: `checked` values (rows, of the table as a whole), of them `unexpected`.

    Raises GranaryError if it could not be checked.
    """
    configuration, result, problems = outcome["expectation_config"], outcome["result"], outcome["exception_info"]
    for problem in [problems] if "raised_exception" in problems else problems.values():  # one, or one per metric
        if problem["raised_exception"]:
            reason = problem["exception_message"].splitlines()[0]
            raise GranaryError(
                f"{table}: {configuration['type']} ({configuration['description']}) can't be checked: {reason}\n"
                "Run bin/ingest if the source has changed, or correct the expectations.py of the feed"
            )
    rule = {key: value for key, value in configuration["kwargs"].items() if key not in ("batch_id", "mostly")}
    names = rule.get("column_list") or [rule[key] for key in ("column", "column_A", "column_B") if key in rule]
    count = result.get("element_count", result.get("observed_value")) or 0
    samples = result.get("partial_unexpected_index_list") or result.get("partial_unexpected_list") or []
    return {
        "column": configuration["meta"].get("column")
        or ", ".join(name.removesuffix("_read") for name in names if name != "file"),
        "expected": configuration["description"],
        "state": "met" if outcome["success"] else configuration["severity"],
        "type": configuration["type"],
        "rule": rule,
        "severity": configuration["severity"],
        "mostly": configuration["kwargs"].get("mostly", 1),
        "checked": count - result.get("missing_count", 0),
        "unexpected": result.get("unexpected_count", 0),
        "samples": [{"value": value_of(row), "file": row["file"], "line": row.get("line")} for row in samples],
    }


def value_of(row: Mapping[str, Any]) -> str:
    """Return the unexpected values of a row as a short text in one line; empty if there are none."""
    values = [str(row[name]) for name in row if name not in ("file", "line") and row[name] is not None]
    text = "".join(letter if letter.isprintable() else " " for letter in ", ".join(values)[: SHOWN_TEXT + 1])
    return text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]} …"


# -- What people see ---------------------------------------------------------------------------------------------------


def write(directory: Path, results: Mapping[str, Any]) -> None:
    """Write the page and the results."""
    page = render({"results": results, "states": STATES}, "expectations.html")
    for name, text in ((PAGE, page), (RESULTS, json.dumps(results, indent=1, default=str))):
        with writing(directory / name, "--output") as file:
            file.write(text.encode())


def say(results: Mapping[str, Any], directory: Path) -> None:
    """Print a line per table, one per expectation that is not met, and where the page is.

    Raises GranaryError if one of them is critical.
    """
    failed = sum(table["counts"]["critical"] for table in results["tables"])
    for table in results["tables"]:
        met, total = table["counts"]["met"], len(table["expectations"])
        print(f"{table['table']:<16} {table['row_count']:>6,} rows, {met} of {total} expectations met")
        for found in table["expectations"]:
            if found["state"] != "met":
                print(f"  {found['state']:<9} {printable(sentence(found))}")
    print(f"expectations: {directory / PAGE}")
    if failed:
        many = "critical expectations are" if failed > 1 else "critical expectation is"
        raise GranaryError(f"{failed} {many} not met; docs/quality.md says what to do")


def sentence(found: Mapping[str, Any]) -> str:
    """Return what is wrong in a line."""
    what = f"{found['column']} {found['expected']}".strip()
    if not found["unexpected"]:  # only of the table as a whole
        return f"{what}: it has none"
    values = ", ".join(dict.fromkeys(sample["value"] for sample in found["samples"][:3] if sample["value"]))
    counts = f"{found['unexpected']:,} of {found['checked']:,} unexpected, {1 - found['mostly']:.0%} allowed"
    return f"{what}: {counts}{f' ({values})' if values else ''}"


if __name__ == "__main__":
    run_main(main)
