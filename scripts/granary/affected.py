"""What a change affects, by dbt's manifests: those parts that dbt's own comparison of states doesn't see."""

from __future__ import annotations

import json
import re
from typing import Any

NEWEST_DELIVERIES = "int_quality__newest_deliveries"  # by which a feed's models learn the date, whatever was delivered
BRANDS = "stg_ledger__brands+"  # what the core says of where brands were found
RULES = ("schema", "identifier", "loader", "meta")  # of a source: what models are made from
NO_RULES = ("personal",)  # of a column's meta: what no model reads
# A macro that looks others up by names, and those names: of parse types, and in the sources' YAML
LOOKS_UP = re.compile(r"\bcontext(\.get\(|\[)")
PARSER = re.compile(r"parse_\w+")
IN_YAML = re.compile(r'"macro": "(\w+)"')


def by_batch(project: dict[str, Any], feed: str, entity: str) -> list[str]:
    """Return the selectors of dbt for what a new batch touches: what reads it, and what the core says of batches."""
    selectors = [f"source:{feed}.{entity}+", "group:core"]
    newest = [uid for uid, node in project["nodes"].items() if node["name"] == NEWEST_DELIVERIES]
    if any(project["nodes"][uid].get("group") == feed for uid in descendants(project, newest)):
        selectors.append(f"{NEWEST_DELIVERIES}+,group:{feed}")
    return selectors


def without_descendants(project: dict[str, Any], selectors: list[str]) -> list[str]:
    """Return the selectors of nodes and sources without those of nodes that depend on the others, sorted."""
    uids = {node["name"]: uid for uid, node in project["nodes"].items() if node["resource_type"] != "test"}
    uids |= {f"source:{source['source_name']}.{source['name']}": uid for uid, source in project["sources"].items()}
    below = descendants(project, [uids[selector] for selector in selectors])
    return sorted({selector for selector in selectors if uids[selector] not in below})


def descendants(project: dict[str, Any], found: list[str]) -> set[str]:
    """Return the nodes that depend on others."""
    seen: set[str] = set()
    while found:
        found = [child for uid in found for child in project["child_map"][uid] if child in project["nodes"]]
        found = [uid for uid in dict.fromkeys(found) if uid not in seen]
        seen.update(found)
    return seen


def by_rules(project: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Return the selectors of sources whose declaration has changed in more than its descriptions."""
    return [
        f"source:{source['source_name']}.{source['name']}"
        for uid, source in project["sources"].items()
        if uid not in before["sources"] or rules_of(source) != rules_of(before["sources"][uid])
    ]


def rules_of(source: dict[str, Any]) -> list[Any]:
    """Return what models are made from."""
    columns = source["columns"].values()
    return [source.get(key) for key in RULES] + [
        [column["name"], rules_in(column["meta"]), column["config"] | {"meta": rules_in(column["config"].get("meta"))}]
        for column in columns
    ]


def rules_in(meta: dict[str, Any] | None) -> dict[str, Any]:
    """Return the part of a column's meta by which its values are read."""
    return {key: value for key, value in (meta or {}).items() if key not in NO_RULES}


def by_macros(project: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Return the names of models that call macros that have changed, directly or not."""
    macros = project["macros"]
    changed = {
        uid for uid in macros.keys() | before["macros"].keys() if sql_of(macros, uid) != sql_of(before["macros"], uid)
    }
    if not changed:
        return []
    declared = set(IN_YAML.findall(json.dumps(project["sources"])))
    by_name = {uid for uid, macro in macros.items() if PARSER.fullmatch(macro["name"]) or macro["name"] in declared}
    calls = {
        uid: {*macro["depends_on"]["macros"], *(by_name if LOOKS_UP.search(macro["macro_sql"]) else ())}
        for uid, macro in macros.items()
    }
    while callers := {uid for uid, called in calls.items() if called & changed} - changed:
        changed |= callers
    return [
        node["name"]
        for node in project["nodes"].values()
        if node["resource_type"] == "model" and changed.intersection(node["depends_on"]["macros"])
    ]


def sql_of(macros: dict[str, Any], uid: str) -> str | None:
    """Return the SQL of a macro; None if there is no such macro."""
    return macros[uid]["macro_sql"] if uid in macros else None
