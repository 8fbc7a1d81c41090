"""A table more for a feed that exists: lines at the end of its source, which stays as its author wrote it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from granary import declared
from granary.project import GranaryError

USUAL = {"delimiter": ",", "quote": '"', "encoding": "utf-8", "skip_lines": 0, "skip_initial_space": False}


def source_of(feed: str) -> Path | None:
    """Return the file with the declared tables of a feed; None if there is no such feed.

    Raises GranaryError if its declaration can't be used.
    """
    entities, problems = declared.declarations()
    if feed in problems:
        raise GranaryError(problems[feed])
    paths = [entity.path for (name, _), entity in entities.items() if name == feed]
    return paths[-1] if paths else None


def meta_for_all(path: Path, feed: str) -> Mapping[str, Any]:
    """Return the meta of a source, which holds for each of its tables that doesn't say otherwise."""
    sources = declared.document_of(path, path.read_bytes())["sources"]
    return next((declared.meta_of(source) for source in sources if source["name"] == feed), {})


def told_apart(file: Path, found: Mapping[str, Any], for_all: Mapping[str, Any]) -> dict[str, Any]:
    """Return the format of a table, as found in its file, whose source declares one for all tables.

    Where the file is as usual, and the source says otherwise, the table has to say so.

    Raises GranaryError if the source declares a header, which no table can do without again.
    """
    if "header" in for_all and "header" not in found:
        raise GranaryError(
            f"{file}: has a header, but the source declares one for all tables: move it to those without"
        )
    usual = USUAL | ({"delimiter": "\t"} if ".tsv" in file.suffixes else {})
    return {name: usual[name] for name in for_all if name in usual and for_all[name] != usual[name]} | dict(found)


def with_table(text: str, feed: str, block: str) -> str | None:
    """Return the text of a YAML file with a table added to a feed's source, given the table's own lines.

    None if it can't be done at the end of the file without changing anything else.
    """
    try:
        place = tables_of(yaml.compose(text), feed)
        if place is None or place.flow_style:
            return None
        end = "\r\n" if "\r\n" in text else "\n"
        added = textwrap.indent(block, " " * place.start_mark.column).replace("\n", end)
        changed = text + ("" if text.endswith("\n") else end) + added
        before, after, (table,) = yaml.safe_load(text), yaml.safe_load(changed), yaml.safe_load(block)
    except (yaml.YAMLError, UnicodeError):
        return None
    sources = [
        {**source, "tables": [*source["tables"], table]} if source.get("name") == feed else source
        for source in before["sources"]
    ]
    return changed if after == {**before, "sources": sources} else None


def tables_of(document: yaml.Node, feed: str) -> yaml.SequenceNode | None:
    """Return the list of a source's tables in a YAML document, with its place there; None if there is none."""
    for source in values_of(document).get("sources", document).value:
        if isinstance(source, yaml.MappingNode) and (parts := values_of(source))["name"].value == feed:
            tables = parts.get("tables")
            return tables if isinstance(tables, yaml.SequenceNode) else None
    return None


def values_of(mapping: yaml.MappingNode) -> dict[str, yaml.Node]:
    """Return the values of a mapping by their keys."""
    return {key.value: value for key, value in mapping.value}
