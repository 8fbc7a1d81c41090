"""Which landing files there are, in which order they load, and which of them a name selects. Opens none of them."""

from __future__ import annotations

import functools
import os
import re
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from granary import declared
from granary.declared import Entity
from granary.project import GranaryError

SUFFIX = r"(?:(\.csv|\.tsv|\.txt|\.jsonl?|\.ndjson)(\.gz|\.zst|\.zip)?|(\.parquet|\.xlsx))"
FORMAT = re.compile(SUFFIX + r"\Z", re.IGNORECASE)
FILE = r"{}/(?P<feed>[^/]+)/(?P<entity>[^/]+?){}" + SUFFIX
INITIAL = re.compile(FILE.format("initial", ""), re.IGNORECASE)
INCREMENTAL = re.compile(FILE.format("incremental", "/(?P<batch>[^/]+?)"), re.IGNORECASE)

GRAIN = 2 * 10**9  # nanoseconds: no file system's clock is coarser

UNDECLARED_FILE = (
    "not a file of a declared entity: landing files are initial/<feed>/<entity>.csv and"
    " incremental/<feed>/<entity>/<batch>.csv (or .tsv, .txt, .json, .jsonl, each also with .gz, .zst or .zip; or"
    " .parquet, .xlsx); declare the entity in the dbt sources, or rename or remove the file"
)
BROKEN_LINK = "a symbolic link that leads nowhere: repair or remove it"
OUTWARD_LINK = (
    "a symbolic link that leads out of the data folder: move the files there, or allow such links with"
    " GRANARY_OUTWARD_LINKS=1"
)


# (feed, entity, problem if nobody's) to the landing table, or None and the problem
Owner = Callable[[str, str, str], "tuple[Entity | None, str]"]


class LandingFile(NamedTuple):
    """A file below the data root. Without an entity, it can't be loaded, because of a problem.

    There may be a hundred thousand of them, so what their name tells isn't kept.
    """

    root: Path
    name: str  # path from the root
    entity: Entity | None = None
    problem: str = UNDECLARED_FILE

    @property
    def path(self) -> Path:
        """Return the path that opens the file."""
        return self.root / self.name

    @property
    def relative(self) -> str:
        """Return the path from the data root, as the ledger has it."""
        return self.name if self.name.isprintable() else ascii(self.name)

    @property
    def label(self) -> str:
        """Return <feed>/<entity>/<batch>, the name for people."""
        named = parts_of(self.name)
        return "{feed}/{entity}/{batch}".format(**named) if named else self.relative

    @property
    def feed(self) -> str:
        """Return the feed that the path names."""
        return self.label.partition("/")[0]

    @property
    def brand(self) -> str | None:
        """Return the brand that delivers the file to a table of many brands; None for a file of another table."""
        return self.entity.brands.folders.brand_in(self.feed) if self.entity and self.entity.brands else None

    @property
    def format(self) -> str:
        """Return what the file is called for: .csv, .tsv, .txt, .json, .jsonl, .ndjson, .parquet or .xlsx."""
        text, _, table = FORMAT.search(self.name).groups()
        return (text or table).lower()

    @property
    def compression(self) -> str:
        """Return .gz, .zst, .zip, or nothing."""
        return (FORMAT.search(self.name)[2] or "").lower()

    @property
    def size(self) -> int | None:
        """Return the size in bytes, or None if the file is gone."""
        return self.path.stat().st_size if self.path.exists() else None


def parts_of(name: str) -> dict[str, str]:
    """Return feed, entity and batch that a path from the data root names; none of them if it isn't a landing file's."""
    match = INITIAL.fullmatch(name) or INCREMENTAL.fullmatch(name)
    return {"batch": "initial", **match.groupdict()} if match and name.isprintable() else {}


def signature(file: LandingFile) -> str | None:
    """Return what changes whenever the file does; None if it was changed so lately that another change might not show.

    Nobody can set the time of the last change of anything (ctime), but a clock has a grain.
    """
    found = file.path.stat()
    if time.time_ns() - found.st_ctime_ns < GRAIN:
        return None
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def discover(root: Path, entities: dict[tuple[str, str], Entity], unusable: Collection[str] = ()) -> list[LandingFile]:
    """Return the landing files below the data root in the order of loading: initial files, then batch by batch.

    Batches are in natural order, 2 before 10. Names that begin with a dot are ignored. A link out of the data root
    isn't followed, unless GRANARY_OUTWARD_LINKS is 1: a person who may deliver files may not have any file read.
    The folders of feeds whose declarations are unusable don't count as those of a brand.
    """
    places = {name: place for place, name in enumerate(entities)}
    home, owner = Path(os.path.realpath(root)), owners(entities, unusable)

    def visible(folder: str, levels: int) -> Iterator[str]:
        for path in (root / folder).iterdir() if (root / folder).is_dir() else []:
            if not path.name.startswith("."):
                goes_on = levels and path.is_dir() and not leads_out(path, home)
                name = f"{folder}/{path.name}"
                yield from visible(name, levels - 1) if goes_on else [name]

    def order(file: LandingFile) -> tuple[bool, str, int, str]:
        batch, entity = in_natural_order(file.label.rpartition("/")[2]), file.entity
        place = places[entity.feed, entity.name] if entity else len(places)
        return file.name.startswith("incremental/"), batch, place, file.name

    if entities and not root.is_dir():
        raise GranaryError(f"the data folder {root} doesn't exist: name another with --data-dir or GRANARY_DATA")
    try:
        names = [*visible("initial", 1), *visible("incremental", 2)]
    except OSError as error:
        raise GranaryError(f"{error.filename}: {error.strerror}: make it readable, or move it away") from None
    return sorted((landing_file(root, home, name, owner) for name in names), key=order)


def owners(entities: Mapping[tuple[str, str], Entity], unusable: Collection[str] = ()) -> Owner:
    """Return a function that says whose the files are that lie in the folders of a feed and an entity."""

    @functools.cache
    def owner(feed: str, name: str, problem: str) -> tuple[Entity | None, str]:
        if not (found := declared.table_of(feed, name, entities, unusable)):
            return None, problem
        entity, brand = found
        if not entity.brands:
            return entity, problem
        if not brand:
            folder = entity.brands.folders.name("<brand>")
            return None, f"the source {feed} stands for brands: move the file to incremental/{folder}/{name}"
        odd = entity.brands.folders.problem(feed)
        return (None, f"{feed} can't be a brand's folder: {odd}") if odd else (entity, problem)

    return owner


def landing_file(root: Path, home: Path, name: str, owner: Owner) -> LandingFile:
    """Return the landing file that a path from the data root names, given the real path of this."""
    named, path = parts_of(name), root / name
    problem = BROKEN_LINK if path.is_symlink() and not path.exists() else UNDECLARED_FILE
    if is_outside := path.exists() and leads_out(path, home):
        problem = OUTWARD_LINK
    if not named or not path.is_file() or is_outside:
        return LandingFile(root, name, None, problem)
    return LandingFile(root, name, *owner(named["feed"], named["entity"], problem))


def refusal(file: LandingFile) -> GranaryError:
    """Return the error for a file that no entity takes."""
    named = parts_of(file.name) if file.problem == UNDECLARED_FILE else {}
    way_out = f"(or: bin/feed new {named['feed']} {named['entity']} {shlex.quote(str(file.path))})" if named else ""
    return GranaryError(f"{file.relative}: {file.problem} {way_out}".rstrip())


def leads_out(path: Path, home: Path) -> bool:
    """Return whether a path leads out of the data folder, and may not."""
    follow = os.environ.get("GRANARY_OUTWARD_LINKS") == "1"
    return not follow and not Path(os.path.realpath(path)).is_relative_to(home)


def in_natural_order(name: str) -> str:
    """Return a text that comes where the name does if its numbers count as numbers: 2 before 10."""
    return re.sub("0*([0-9]+)", lambda number: f"\0{len(number[1]):04}{number[1]}", name)


def select(
    files: list[LandingFile], names: list[str], initial_only: bool = False, refused: Collection[str] = ()
) -> list[LandingFile]:
    """Return the files that the names select: a feed, an entity, a batch, or a path. Without names, return all.

    The name of a source that stands for brands selects those of all its brands.

    Raises GranaryError if a name selects none, unless it is that of a refused feed.
    """

    files = [file for file in files if not initial_only or file.relative.startswith("initial/")]
    for name in names:
        if name.partition("/")[0] not in refused and not any(is_named(file, [name]) for file in files):
            raise GranaryError(f"no landing file matches {name}: name a feed, feed/entity, feed/entity/batch or a path")
    return [file for file in files if is_named(file, names)]


def is_named(file: LandingFile, names: Sequence[str]) -> bool:
    """Return whether one of the names selects a file; without names, all are selected."""
    if not names:
        return True
    labels = [file.label, *([f"{file.entity.feed}/{file.entity.name}"] if file.brand else [])]
    if is_selected(labels, names) or file.relative in names:
        return True
    path = os.path.realpath(file.path)
    return any(os.path.realpath(name) == path for name in names)


def is_selected(labels: Iterable[str], names: Sequence[str]) -> bool:
    """Return whether one of the names is, or begins, one of the labels; without names, all are selected."""
    starts = tuple(f"{name.rstrip('/')}/" for name in names)
    return not names or any(f"{label}/".startswith(starts) for label in labels)
