"""Write the data dictionary: one page about every table and column, which needs no server and no network.

usage: scripts/in_venv.sh granary.reports.data_dictionary        (or: make docs)

Writes output/data_dictionary.html from what dbt knows: its manifest, and the types in its catalog where there is one
(dbt/target, or where DBT_TARGET_PATH says).
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from granary.project import ROOT, GranaryError, load_env, replacing, run_main, target_directory

PAGE = ROOT / "output" / "data_dictionary.html"
TEMPLATES = Path(__file__).with_name("templates")

LAYERS = {
    "marts": "What people and programs read: facts, dimensions, and what could not be used.",
    "intermediate": "Which version counts, and who is who.",
    "staging": "Rows that are safe to use: trimmed, typed, under clear names.",
    "seeds": "What people decide, kept in the repository.",
    "landing": "What was delivered, as text, and the ledger of loads.",
}
SPELLINGS = {
    "string": "text",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}


def main() -> int:
    """Write the page and say where it is."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(__doc__.strip())
        return 0
    if sys.argv[1:]:
        raise GranaryError(f"unknown argument {sys.argv[1]}; see --help")
    load_env()
    target = target_directory()
    page = render(read(target / "manifest.json"), read(target / "catalog.json", optional=True))
    try:
        with replacing(PAGE) as file:
            file.write(page.encode())
    except OSError as error:
        raise GranaryError(f"can't write {PAGE}: {error.strerror}") from None
    print(f"data dictionary: {PAGE}")
    return 0


def read(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """Return what dbt has written to a file; where an optional one is missing, nothing."""
    if optional and not path.exists():
        return {}
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise GranaryError(f"{path} isn't there: dbt writes it. Run this first:  make docs") from None
    except (OSError, ValueError) as error:
        raise GranaryError(f"{path} can't be read ({error}). Let dbt write it again:  make docs") from None


def render(manifest: dict[str, Any], catalog: dict[str, Any]) -> str:
    """Return the page."""
    tables = tables_of(manifest, catalog)
    anchors = {name: table["anchor"] for table in tables.values() for name in (table["name"], table["anchor"])}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = lambda text: prose(text, anchors)
    return environment.get_template("data_dictionary.html").render(
        layers=layers_of(tables, manifest),
        table_count=len(tables),
        column_count=sum(len(table["columns"]) for table in tables.values()),
        made_at=manifest["metadata"]["generated_at"][:16].replace("T", " "),
    )


def prose(text: str, anchors: dict[str, str]) -> Markup:
    """Return a description as HTML: `code` is the only markup there is, and the name of a table becomes a link."""

    def code(match: re.Match[str]) -> str:
        span = f"<code>{match[1]}</code>"
        return f'<a href="#{escape(anchors[match[1]])}">{span}</a>' if match[1] in anchors else span

    return Markup(re.sub("`([^`]+)`", code, str(escape(" ".join(text.split())))))


# -- From dbt's files to tables ----------------------------------------------------------------------------------------


def tables_of(manifest: dict[str, Any], catalog: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the project's models, seeds and sources by their id, as the page shows them."""
    nodes = [*manifest["nodes"].values(), *manifest["sources"].values()]
    kinds = ("model", "seed", "source")
    shown = {
        node["unique_id"]: node
        for node in nodes
        if node["resource_type"] in kinds and node["package_name"] == manifest["metadata"]["project_name"]
    }
    facts = facts_of(manifest)
    types = {**catalog.get("nodes", {}), **catalog.get("sources", {})}
    tables = {}
    for key, node in shown.items():
        name = node.get("identifier") or node["name"]
        tables[key] = {
            "anchor": f"{node['schema']}.{name}",
            "name": name,
            "schema": node["schema"],
            "layer": {"seed": "seeds", "source": "landing"}.get(node["resource_type"], node["fqn"][1]),
            "group": node["source_name"] if node["resource_type"] == "source" else node["fqn"][-2],
            "description": node["description"],
            "kind": node["config"].get("materialized") or f"source, loaded by {node['loader'] or 'bin/ingest'}",
            "columns": [
                {
                    "name": column["name"],
                    "type": type_of(column, types.get(key)),
                    "description": column["description"],
                    "facts": rules_of(column) + facts[key, column["name"]],
                }
                for column in node["columns"].values()
            ],
            "facts": facts[key, None],
        }
    for key, table in tables.items():
        for relation in ("parent", "child"):
            related = [tables[other] for other in manifest[f"{relation}_map"].get(key, []) if other in tables]
            table[relation] = sorted({(other["anchor"], other["name"]) for other in related})
    return tables


def layers_of(tables: dict[str, dict[str, Any]], manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tables by layer and group, in the order of the page."""
    about = {source["source_name"]: source["source_description"] for source in manifest["sources"].values()}
    grouped: dict[str, dict[str, list[Any]]] = {layer: defaultdict(list) for layer in LAYERS}
    for table in sorted(tables.values(), key=lambda table: (table["group"], table["name"])):
        grouped.setdefault(table["layer"], defaultdict(list))[table["group"]].append(table)
    return [
        {
            "name": layer,
            "description": LAYERS.get(layer, ""),
            "groups": [
                {"name": group, "description": about.get(group, "") * (layer == "landing"), "tables": members}
                for group, members in groups.items()
            ],
        }
        for layer, groups in grouped.items()
        if groups
    ]


def type_of(column: dict[str, Any], catalogued: dict[str, Any] | None) -> str:
    """Return a column's type: that of its contract, else that of the catalog, else nothing."""
    known = catalogued["columns"].get(column["name"], {}).get("type") if catalogued else None
    found = column["data_type"] or known or ""
    return SPELLINGS.get(found, found)


def rules_of(column: dict[str, Any]) -> list[str]:
    """Return what the source says of a landing column, in words."""
    meta = column["config"]["meta"]
    words = {
        "parse": "read as `{}`",
        "default": "where empty: `{}`",
        "must": "must be `{}`",
    }
    rules = [text.format(meta[key]) for key, text in words.items() if key in meta]
    return rules[:1] + ["required"] * bool(meta.get("required")) + rules[1:]


def facts_of(manifest: dict[str, Any]) -> dict[tuple[str, str | None], list[str]]:
    """Return what the data tests hold true, in words, by table and column; None stands for the table as a whole."""
    facts = defaultdict(list)
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test":
            attached = node.get("attached_node")
            for key in [attached] if attached else node["depends_on"]["nodes"]:
                facts[key, node.get("column_name")].append(in_words(node))
    return facts


def in_words(test: dict[str, Any]) -> str:
    """Return what a test holds true. One that is not known here has its name, which says so as well."""
    metadata = test.get("test_metadata") or {"name": "", "kwargs": {}}
    given = metadata["kwargs"]
    words = {
        "unique": lambda: "unique",
        "not_null": lambda: "not null",
        "accepted_values": lambda: "one of " + ", ".join(f"`{value}`" for value in given["values"]),
        "relationships": lambda: f"refers to `{referred(given['to'])}` (`{given['field']}`)",
        "accepted_range": lambda: range_of(given),
        "expect_column_values_to_be_between": lambda: range_of(given),
        "unique_combination_of_columns": lambda: (
            "unique together: " + ", ".join(f"`{name}`" for name in given["combination_of_columns"])
        ),
        "expression_is_true": lambda: f"always `{given['expression']}`",
        "expect_table_row_count_to_equal_other_table": lambda: f"as many rows as `{referred(given['compare_model'])}`",
        "holds_or_rejects_each_raw_row": lambda: (
            f"each row of `raw.{given['feed']}__{given['entity']}` is here or in `rejected_rows`"
        ),
    }
    fact = words.get(metadata["name"], lambda: test["name"].replace("_", " "))()
    if where := test["config"].get("where"):
        fact += f", where `{where}`"
    return fact + " (else a warning)" * (test["config"]["severity"].lower() == "warn")


def referred(expression: str) -> str:
    """Return the table that ref('...') or source('...', '...') names."""
    return "__".join(re.findall(r"'([^']+)'", expression))


def range_of(given: dict[str, Any]) -> str:
    """Return the range that a test allows."""
    low, high = given.get("min_value"), given.get("max_value")
    strict = given.get("inclusive") is False or given.get("strictly") is True
    least, most = ("above", "below") if strict else ("at least", "at most")
    return " and ".join(f"{words} `{bound}`" for words, bound in ((least, low), (most, high)) if bound is not None)


if __name__ == "__main__":
    run_main(main)
