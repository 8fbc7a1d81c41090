"""What the YAML below dbt/models declares: the landing tables and the marts of each feed.

Read from the files themselves, so that nothing here needs dbt, a manifest or a server. Every error names the file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from granary import project
from granary.project import GranaryError
from granary.text import snake_case

CORE = "core"  # the dbt group of what belongs to no feed
NO_FEEDS = "There are no feeds yet. How to add one: docs/your-own-feed.md"
LONGEST_NAME = 63  # bytes, PostgreSQL's limit
# Names of the core in places where a feed has its name, so that `bin/feed remove` would delete them.
FOLDERS = ("arithmetic", "calendar", "core", "generic", "incremental", "ledger", "parsing", "quality", "staging")
GENERATOR_MODULES = ("chance", "feed", "files", "weeks")


class Entity(NamedTuple):
    """A landing table: a dbt source table whose loader is bin/ingest. `table` is its name in schema raw.

    A file may lack the columns that are `optional`.
    """

    feed: str
    name: str
    table: str
    columns: tuple[str, ...]
    meta: Mapping[str, Any] = {}
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Column:
    """A column of a mart. `meta` may hold its label, unit and format."""

    name: str
    data_type: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class Mart:
    """A mart. `feed` is its dbt group; `grain` is its primary key; `meta` says where and how it is shown."""

    name: str
    feed: str
    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    meta: Mapping[str, Any]
    path: Path

    @property
    def public_columns(self) -> tuple[Column, ...]:
        """Return the columns without provenance, whose names begin with an underscore."""
        return tuple(column for column in self.columns if not column.name.startswith("_"))


def models_directory() -> Path:
    """Return the directory of the dbt models."""
    return project.ROOT / "dbt" / "models"


def entities(models: Path | None = None) -> dict[tuple[str, str], Entity]:
    """Return the landing tables by (feed, entity), in declared order.

    Raises GranaryError, naming the file, where a declaration can't be used.
    """
    found = {}
    for path, document in yaml_files(models or models_directory(), "bin/ingest"):
        try:
            landing = [source for source in document["sources"] if source.get("loader") == "bin/ingest"]
            for source, table in ((each, table) for each in landing for table in each["tables"]):
                feed, name, columns = source["name"], table["name"], [column["name"] for column in table["columns"]]
                if feed in FOLDERS + GENERATOR_MODULES or "__" in feed:
                    raise GranaryError(f"{path}: a feed can't be called {feed}: choose a name that is free, without __")
                if table.get("identifier") != f"{feed}__{name}" or len(table["identifier"].encode()) > LONGEST_NAME:
                    raise GranaryError(f"{path}: {name} needs `identifier: {feed}__{name}`, of at most 63 bytes")
                if not columns or columns != list(dict.fromkeys(map(snake_case, columns))):
                    raise GranaryError(f"{path}: {name} needs columns with distinct names in snake_case")
                metas = {column["name"]: meta_of(column) for column in table["columns"]}
                optional = frozenset(column for column, meta in metas.items() if meta.get("optional"))
                if both := [column for column in columns if column in optional and metas[column].get("required")]:
                    raise GranaryError(f"{path}: {name}: {both[0]} is required and optional: remove one of them")
                found[feed, name] = Entity(feed, name, f"{feed}__{name}", tuple(columns), meta_of(table), optional)
        except (AttributeError, KeyError, TypeError) as error:
            raise GranaryError(f"{path}: not a valid declaration of sources: {error!r}") from None
    return found


def meta_of(declaration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the `config.meta` of a declared table or column."""
    return (declaration.get("config") or {}).get("meta") or {}


def feeds(models: Path | None = None) -> list[str]:
    """Return the names of the declared feeds, sorted."""
    return sorted({feed for feed, _ in entities(models)})


def marts(models: Path | None = None) -> dict[str, Mart]:
    """Return the marts by name, sorted. Raises GranaryError, naming the file, where one can't be read."""
    found = {}
    for path, document in yaml_files((models or models_directory()) / "marts", "models"):
        try:
            for model in document.get("models") or []:
                config = model.get("config") or {}
                columns = tuple(
                    Column(
                        column["name"],
                        str(column.get("data_type") or ""),
                        mapping((column.get("config") or {}).get("meta")),
                        " ".join((column.get("description") or "").split()),
                    )
                    for column in model.get("columns") or []
                )
                found[model["name"]] = Mart(
                    name=model["name"],
                    feed=config.get("group") or path.parent.name,
                    description=" ".join((model.get("description") or "").split()),
                    grain=primary_key(model),
                    columns=columns,
                    meta=mapping(config.get("meta")),
                    path=path,
                )
        except (AttributeError, KeyError, TypeError) as error:
            raise GranaryError(f"{path}: not a valid description of models: {error!r}") from None
    return dict(sorted(found.items()))


def mapping(meta: Any) -> Mapping[str, Any]:
    """Return meta if it is a mapping. dbt refuses anything else, so one bad file need not cost the other marts."""
    return meta if isinstance(meta, Mapping) else {}


def primary_key(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns of a model's primary key constraint, wherever it is declared; none if there is none."""
    for constraint in model.get("constraints") or []:
        if constraint["type"] == "primary_key":
            return tuple(map(str, constraint.get("columns") or []))
    return tuple(
        column["name"]
        for column in model.get("columns") or []
        if any(constraint["type"] == "primary_key" for constraint in column.get("constraints") or [])
    )


def yaml_files(folder: Path, word: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each YAML file below a folder that contains a word, with its content."""
    for path in sorted(folder.rglob("*.y*ml")):
        text = path.read_text("utf-8")
        if word in text:
            try:
                document = parsed(text)
            except yaml.YAMLError as error:
                raise GranaryError(f"{path}: not valid YAML: {error}") from None
            if isinstance(document, dict):
                yield path, document


@functools.lru_cache(maxsize=1024)
def parsed(text: str) -> Any:
    """Return what a YAML text holds; callers must not change it."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
