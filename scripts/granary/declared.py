"""What the YAML below dbt/models declares: the landing tables and the marts of each feed.

Read from the files themselves, so that nothing here needs dbt, a manifest or a server. Every error names the file.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from granary import brands, project
from granary.brands import Brands, Pattern
from granary.project import GranaryError
from granary.text import LONGEST_NAME, column_name, is_column_name

INVALID = (GranaryError, AttributeError, KeyError, TypeError)  # what reading a malformed declaration raises
REJECT_LIMITS = ("warn_above", "fail_above")
FILE_LIMITS = ("max_lines", "max_bytes")
FORMAT_SETTINGS = {  # of a table's files, with what each takes
    "delimiter": "one ASCII character, such as ';'",
    "quote": "one ASCII character, or none",
    "encoding": "the name of an encoding, such as windows-1252",
    "skip_lines": "a whole number",
    "comment": "the character with which such lines begin, such as '#'",
    "header": "a list of the names that the file lacks",
    "sheet": "the name of a sheet",
    "skip_initial_space": "true or false",
}
CHARACTERS = {"delimiter": ",", "quote": '"', "comment": ""}  # of FORMAT_SETTINGS, with what they are by default
PERSONAL = ("email", "name", "id", "text")  # what a column may hold of a person
PERSONAL_TYPES = ("text", "email", "label", "integer")  # parse types that read a pseudonym as they read a value
CORE = "core"  # the dbt group of what belongs to no feed
NO_FEEDS = "There are no feeds yet. How to add one: docs/your-own-feed.md"
# Names of the core in places where a feed has its name, so that `bin/feed remove` would delete them.
FOLDERS = (
    "arithmetic", "calendar", "core", "currency", "engines", "generic", "incremental", "ledger", "parsing", "quality",
    "spelling", "staging",
)  # fmt: skip
GENERATOR_MODULES = ("chance", "feed", "files", "weeks")


class Entity(NamedTuple):
    """A landing table: a dbt source table whose loader is bin/ingest. `table` is its name in schema raw.

    `rules` is the meta of each column, and `path` the file that declares all this.
    """

    feed: str
    name: str
    table: str
    columns: tuple[str, ...]
    path: Path
    meta: Mapping[str, Any] = {}
    rules: Mapping[str, Mapping[str, Any]] = {}

    @property
    def optional(self) -> tuple[str, ...]:
        """Return the columns that a file may lack."""
        return tuple(column for column in self.columns if self.rules.get(column, {}).get("optional"))

    @property
    def required(self) -> tuple[str, ...]:
        """Return the columns without which no row is safe to use."""
        return tuple(column for column in self.columns if self.rules.get(column, {}).get("required"))

    @property
    def personal(self) -> dict[str, str]:
        """Return the columns that hold something of a person, each with what that is: one of PERSONAL."""
        return {column: rules["personal"] for column, rules in self.rules.items() if rules.get("personal")}

    @property
    def records(self) -> str:
        """Return the keys, joined by dots, that lead to the array of rows in a JSON object."""
        return self.meta.get("records") or ""

    @property
    def format(self) -> Mapping[str, Any]:
        """Return the declared settings of the table's files: some of FORMAT_SETTINGS."""
        return self.meta.get("format") or {}

    @property
    def brands(self) -> Brands | None:
        """Return the brands that deliver to the table; None if only the feed itself does."""
        return brands.brands_of(self.meta)


KINDS = {  # of columns, with their types as YAML and PostgreSQL spell them
    "integer": "(small|big)?int(eger)?|int[248]",
    "number": "numeric|decimal|real|float[48]?|double( precision)?",
    "text": "text|string|char|varchar|character( varying)?",
    "boolean": "bool(ean)?",
    "date": "date",
    "time": "timestamp(tz)?( with(out)? time zone)?",
}


def kind_of(data_type: str) -> str:
    """Return what a type holds: one of KINDS, or "other"."""
    name = re.sub(r" *\(.*?\)", "", data_type.strip().lower())
    return next((kind for kind, types in KINDS.items() if re.fullmatch(types, name)), "other")


@dataclass(frozen=True)
class Column:
    """A column of a mart. `meta` may hold its label, unit and format; a required one is never null."""

    name: str
    data_type: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    is_required: bool = False

    @property
    def kind(self) -> str:
        """Return what the column holds, see `kind_of`."""
        return kind_of(self.data_type)


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
    found, problems = declarations(models)
    for problem in problems.values():
        raise GranaryError(problem)
    return found


def declarations(models: Path | None = None) -> tuple[dict[tuple[str, str], Entity], dict[str, str]]:
    """Return the landing tables of the feeds whose declarations can be used, and by feed why another's can't be."""
    found: dict[tuple[str, str], Entity] = {}
    problems: dict[str, str] = {}
    for path, text in yaml_texts(models or models_directory(), "bin/ingest"):
        try:
            sources = [(str(source["name"]), source) for source in document_of(path, text).get("sources") or []]
        except INVALID as error:
            problems[path.parent.name] = problem_of(path, error)
            continue
        for feed, source in sources:
            try:
                if source.get("loader") == "bin/ingest":
                    found |= {(feed, entity.name): entity for entity in entities_of(path, feed, source)}
            except INVALID as error:
                problems[feed] = problem_of(path, error)
    problems |= overlaps(found)
    return {key: entity for key, entity in found.items() if entity.feed not in problems}, problems


def patterns(models: Path | None = None) -> dict[str, Pattern]:
    """Return by source the pattern of its brands' folders, even where nothing else of its declaration can be used."""
    found = {}
    for path, text in yaml_texts(models or models_directory(), "bin/ingest"):
        with contextlib.suppress(*INVALID):
            for source in document_of(path, text).get("sources") or []:
                if stands_for := brands.brands_of(meta_of(source)):
                    found[str(source["name"])] = stands_for.folders
    return found


def overlaps(entities: Mapping[tuple[str, str], Entity]) -> dict[str, str]:
    """Return, by feed, why its brands can't be told from those of another."""
    sources = {entity.feed: entity for entity in entities.values() if entity.brands}
    problems = {}
    for one, other in itertools.permutations(sources.values(), 2):
        if setting := one.brands.overlap(other.brands):
            same = " and ".join(f"`{setting}: {each.meta[setting]}` of {each.feed}" for each in (one, other))
            problems[one.feed] = f"{one.path}: {same} can match the same name: choose patterns of which only one can"
    return problems


def table_of(
    folder: str, name: str, entities: Mapping[tuple[str, str], Entity], unusable: Collection[str] = ()
) -> tuple[Entity, str | None] | None:
    """Return the landing table to which a folder delivers files of this name, and the brand, if the folder is one's.

    A folder of a declared feed, usable or not, is that feed's. Return None for a folder that nothing declares; a brand
    may still have a name that it can't have (`Pattern.problem`).
    """
    if entity := entities.get((folder, name)):
        return entity, None
    if folder in unusable or any(folder == feed for feed, _ in entities):
        return None
    for entity in entities.values():
        if entity.name == name and entity.brands and (brand := entity.brands.folders.brand_in(folder)):
            return entity, brand
    return None


def entities_of(path: Path, feed: str, source: dict[str, Any]) -> Iterator[Entity]:
    """Yield the landing tables of a source."""
    if feed in FOLDERS + GENERATOR_MODULES or "__" in f"_{feed}_":
        words = "choose a name that is free, without __, and without _ at its ends"
        raise GranaryError(f"{path}: a feed can't be called {feed}: {words}")
    if not source.get("tables"):
        raise GranaryError(f"{path}: source {feed} has no tables: list them, or remove the source")
    try:
        stands_for = brands.brands_of(meta_of(source))
    except GranaryError as error:
        raise GranaryError(f"{path}: source {feed}: {error}") from None
    for table in source["tables"]:
        name, identifier = table["name"], f"{feed}__{table['name']}"
        if table.get("identifier") != identifier or len(identifier.encode()) > LONGEST_NAME:
            raise GranaryError(f"{path}: {name} needs `identifier: {identifier}`, of at most {LONGEST_NAME} bytes")
        metas = {column["name"]: meta_of(column) for column in table.get("columns") or []}
        columns = tuple(column["name"] for column in table.get("columns") or [])
        if not columns:
            raise GranaryError(f"{path}: table {name} needs columns")
        for column in columns:
            if not is_column_name(column):
                raise GranaryError(
                    f'{path}: table {name}, column {column}: not a name that a column can have: use "'
                    f'{column_name(str(column))}"'
                )
            if columns.count(column) > 1:
                raise GranaryError(f"{path}: table {name} has the column {column} twice: remove one")
            if metas[column].get("required") and metas[column].get("optional"):
                raise GranaryError(f"{path}: {name}: {column} is required and optional: remove one of them")
            if "personal" in metas[column]:
                check_personal(f"{path}: table {name}, column {column}", metas[column])
        if setting := next((each for each in brands.WILDCARDS if each in meta_of(table)), None):
            raise GranaryError(
                f"{path}: table {name}: `{setting}` is for all tables: move it to the meta of the source"
            )
        meta = {**meta_of(source), **meta_of(table)}
        formats = [declared.get("format") or {} for declared in (meta_of(source), meta_of(table))]
        if any(not isinstance(declared, dict) for declared in formats):
            raise GranaryError(f"{path}: table {name}: `format` needs settings, such as {{delimiter: ';'}}")
        meta["format"] = {**formats[0], **formats[1]}
        if not is_texts(meta.get("nulls", [])):
            raise GranaryError(f"{path}: table {name}: `nulls: {meta['nulls']}`: it takes a list of texts")
        if not isinstance(meta.get("records", ""), str):
            raise GranaryError(f"{path}: table {name}: `records` needs keys joined by dots, such as data.items")
        limits = meta.get("reject_limits") or {}
        for setting, limit in limits.items() if isinstance(limits, dict) else [("reject_limits", limits)]:
            if setting in FILE_LIMITS and type(limit) is int and limit >= 0:
                continue
            if setting not in REJECT_LIMITS or type(limit) not in (int, float) or not 0 <= limit <= 1:
                raise GranaryError(
                    f"{path}: table {name}: `reject_limits` has `{setting}: {limit}`: it takes"
                    f" {' and '.join(REJECT_LIMITS)}, each a share from 0 to 1, such as 0.2,"
                    f" and {' and '.join(FILE_LIMITS)}, each a whole number"
                )
        for setting, value in meta["format"].items():
            if setting not in FORMAT_SETTINGS:
                choice = f"choose from {', '.join(FORMAT_SETTINGS)}"
                raise GranaryError(f"{path}: table {name}: `format` has {setting}, which doesn't exist: {choice}")
            if not is_format(setting, value):
                takes = FORMAT_SETTINGS[setting]
                raise GranaryError(f"{path}: table {name}: `format` has `{setting}: {value}`: it takes {takes}")
        if meta["format"].keys() - {"sheet"} and stands_for and stands_for.schemas:
            raise GranaryError(
                f"{path}: table {name}: tables of schemas are copied as CSV with commas in UTF-8, so a source with"
                " `schemas` can't declare another `format`: remove one of them"
            )
        characters = [meta["format"].get(setting, usual) for setting, usual in CHARACTERS.items()]
        if len({*characters}) < len(characters):
            raise GranaryError(f"{path}: table {name}: `format`: {', '.join(CHARACTERS)} have to differ")
        yield Entity(feed, name, identifier, columns, path, meta, metas)


def check_personal(where: str, rules: Mapping[str, Any]) -> None:
    """Raise GranaryError unless what a column declares as `personal` can be replaced when a person is forgotten."""
    kind, parse = rules["personal"], rules.get("parse") or "text"
    if kind not in PERSONAL:
        raise GranaryError(f"{where}: `personal: {kind}`: choose from {', '.join(PERSONAL)}")
    if parse not in PERSONAL_TYPES:
        types = ", ".join(PERSONAL_TYPES)
        raise GranaryError(f"{where}: `personal` goes with `parse` {types}, not with {parse}: remove one of them")


def is_texts(value: Any) -> bool:
    """Return whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_format(setting: str, value: Any) -> bool:
    """Return whether a value is one of a setting of FORMAT_SETTINGS."""
    if setting in CHARACTERS:
        is_character = isinstance(value, str) and len(value) == 1 and value.isascii() and value not in "\r\n\0"
        return is_character or (setting == "quote" and value == "none")
    if setting == "encoding":
        try:
            return "\n".encode(value).decode(value) == "\n"
        except (LookupError, TypeError, UnicodeError):
            return False
    if setting == "header":
        return is_texts(value) and bool(value) and all(value)
    if setting == "skip_lines":
        return type(value) is int and value >= 0
    return isinstance(value, bool if setting == "skip_initial_space" else str)


def problem_of(path: Path, error: Exception) -> str:
    """Return a sentence that names the file."""
    return str(error) if isinstance(error, GranaryError) else f"{path}: not a valid declaration of sources: {error!r}"


def registry() -> dict[str, dict[str, list[str]]]:
    """Return the registry of feeds, with the tables of each, as dbt_project.yml has it."""
    return project_vars().get("feeds") or {}


def reject_limits(entity: Entity) -> dict[str, Any]:
    """Return how much of a batch may be rejected.

    `warn_above` and `fail_above` are the shares, from 0 to 1, above which a build warns or fails; bin/ingest refuses a
    file of which more than `max_lines`, or lines of more than `max_bytes`, are rejected.
    """
    return {**project_vars()["reject_limits"], **(entity.meta.get("reject_limits") or {})}


def project_vars() -> dict[str, Any]:
    """Return the vars of dbt_project.yml."""
    path = project.ROOT / "dbt" / "dbt_project.yml"
    return document_of(path, path.read_bytes()).get("vars") or {}


def models_read(entity: Entity) -> list[str]:
    """Return the models that the core reads of a landing table: its current versions, and where its amounts end."""
    needs = "`current_version` needs a `model`, and each of `amounts` needs `marts`, each with a `mart` or `without`"
    try:
        version, amounts = entity.meta.get("current_version"), entity.meta.get("amounts") or []
        steps = [step for amount in amounts for step in amount["marts"] or [{}]]
        current = [version["model"]] if version else []
        return list(dict.fromkeys([*current, *(step.get("mart") or step["without"] for step in steps)]))
    except (AttributeError, KeyError, TypeError):
        raise GranaryError(f"{entity.path}: table {entity.name}, not a valid meta: {needs}") from None


def feeds(models: Path | None = None) -> list[str]:
    """Return the names of the declared feeds, sorted, with those whose declarations can't be used."""
    found, problems = declarations(models)
    return sorted({feed for feed, _ in found} | problems.keys())


def spanning_groups(models: Path | None = None) -> list[str]:
    """Return the names of the dbt groups of what reads several feeds, sorted: neither the core's nor a feed's."""
    found = set()
    for path, text in yaml_texts(models or models_directory(), "groups:"):
        with contextlib.suppress(*INVALID):  # dbt names a file that isn't valid
            found |= {str(group["name"]) for group in document_of(path, text).get("groups") or []}
    return sorted(found - {CORE, *feeds(models)})


def units(models: Path | None = None) -> list[str]:
    """Return what can be taken out of the tree: feeds, and what reads several of them."""
    return [*feeds(models), *spanning_groups(models)]


def marts(models: Path | None = None) -> dict[str, Mart]:
    """Return the marts by name, sorted. Raises GranaryError, naming the file, where one can't be read."""
    found = {}
    for path, text in yaml_texts((models or models_directory()) / "marts", "models"):
        try:
            for model in document_of(path, text).get("models") or []:
                config = model.get("config") or {}
                columns = tuple(
                    Column(
                        column["name"],
                        str(column.get("data_type") or ""),
                        meta_of(column),
                        " ".join((column.get("description") or "").split()),
                        any(constraint["type"] == "not_null" for constraint in column.get("constraints") or []),
                    )
                    for column in model.get("columns") or []
                )
                found[model["name"]] = Mart(
                    name=model["name"],
                    feed=config.get("group") or path.parent.name,
                    description=" ".join((model.get("description") or "").split()),
                    grain=primary_key(model),
                    columns=columns,
                    meta=meta_of(model),
                    path=path,
                )
        except (AttributeError, KeyError, TypeError) as error:
            raise GranaryError(f"{path}: not a valid description of models: {error!r}") from None
    return dict(sorted(found.items()))


def meta_of(declaration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the meta of a model, a table or a column if it is a mapping.

    dbt refuses anything else, so one bad file need not cost the others.
    """
    meta = (declaration.get("config") or {}).get("meta")
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


def yaml_texts(folder: Path, word: str) -> Iterator[tuple[Path, bytes]]:
    """Yield each YAML file below a folder that contains a word, with its text."""
    for path in sorted(filter(Path.is_file, folder.rglob("*.y*ml"))):  # an editor's lock is a link that leads nowhere
        text = path.read_bytes()
        if word.encode() in text:
            yield path, text


def document_of(path: Path, text: bytes) -> Any:
    """Return what the text of a YAML file holds; callers must not change it."""
    try:
        return parsed(text)
    except (yaml.YAMLError, UnicodeError) as error:
        raise GranaryError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


@functools.lru_cache(maxsize=1024)
def parsed(text: bytes) -> Any:
    """Return what a YAML text holds."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
