"""Which landing files there are, in which order they load, and which of them a name selects. Opens none of them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from granary.declared import Entity
from granary.project import GranaryError

FILE = r"{}/(?P<feed>[^/]+)/(?P<entity>[^/]+?){}(?P<format>\.csv|\.json|\.jsonl)(?:\.gz)?"
INITIAL = re.compile(FILE.format("initial", ""), re.IGNORECASE)
INCREMENTAL = re.compile(FILE.format("incremental", "/(?P<batch>[^/]+?)"), re.IGNORECASE)

GRAIN = 2 * 10**9  # nanoseconds: no file system's clock is coarser

UNDECLARED_FILE = (
    "not a file of a declared entity: landing files are initial/<feed>/<entity>.csv (or .json, .jsonl, also with .gz)"
    " and incremental/<feed>/<entity>/<batch>.csv; declare the entity in the dbt sources, or rename or remove the file"
)
BROKEN_LINK = "a symbolic link that leads nowhere: repair or remove it"
OUTWARD_LINK = (
    "a symbolic link that leads out of the data folder: move the files there, or allow such links with"
    " GRANARY_OUTWARD_LINKS=1"
)


class LandingFile(NamedTuple):
    """A file below the data root. Without an entity, it can't be loaded, because of a problem."""

    path: Path
    relative: str  # to the data root, as the ledger has it
    label: str  # <feed>/<entity>/<batch>, the name for people
    format: str = ""  # .csv, .json or .jsonl
    entity: Entity | None = None
    problem: str = UNDECLARED_FILE

    @property
    def feed(self) -> str:
        """Return the feed that the path names."""
        return self.label.partition("/")[0]

    @property
    def size(self) -> int | None:
        """Return the size in bytes, or None if the file is gone."""
        return self.path.stat().st_size if self.path.exists() else None


def signature(file: LandingFile) -> str | None:
    """Return what changes whenever the file does; None if it was changed so lately that another change might not show.

    Nobody can set the time of the last change of anything (ctime), but a clock has a grain.
    """
    found = file.path.stat()
    if time.time_ns() - found.st_ctime_ns < GRAIN:
        return None
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def discover(root: Path, entities: dict[tuple[str, str], Entity]) -> list[LandingFile]:
    """Return the landing files below the data root in the order of loading: initial files, then batch by batch.

    Batches are in natural order, 2 before 10. Names that begin with a dot are ignored. A link out of the data root
    isn't followed, unless GRANARY_OUTWARD_LINKS is 1: a person who may deliver files may not have any file read.
    """
    home, follow = os.path.realpath(root), os.environ.get("GRANARY_OUTWARD_LINKS") == "1"

    def leads_out(path: Path) -> bool:
        return not follow and not Path(os.path.realpath(path)).is_relative_to(home)

    def visible(folder: Path, levels: int) -> Iterator[Path]:
        for path in folder.iterdir() if folder.is_dir() else []:
            if not path.name.startswith("."):
                goes_on = levels and path.is_dir() and not leads_out(path)
                yield from visible(path, levels - 1) if goes_on else [path]

    def landing_file(path: Path) -> LandingFile:
        relative = path.relative_to(root).as_posix()
        match = INITIAL.fullmatch(relative) or INCREMENTAL.fullmatch(relative)
        problem = BROKEN_LINK if path.is_symlink() and not path.exists() else UNDECLARED_FILE
        if is_outside := path.exists() and leads_out(path):
            problem = OUTWARD_LINK
        if not match or not relative.isprintable():
            return LandingFile(path, relative if relative.isprintable() else ascii(relative), relative, problem=problem)
        name = {"batch": "initial", **match.groupdict()}
        label = "{feed}/{entity}/{batch}".format(**name)
        entity = entities.get((name["feed"], name["entity"])) if path.is_file() and not is_outside else None
        return LandingFile(path, relative, label, name["format"].lower(), entity, problem)

    def order(file: LandingFile) -> tuple[Any, ...]:
        batch = re.split("([0-9]+)", file.label.rpartition("/")[2])
        batch[1::2] = map(int, batch[1::2])
        return file.relative.startswith("incremental/"), batch, [*entities.values(), None].index(file.entity)

    if entities and not root.is_dir():
        raise GranaryError(f"the data folder {root} doesn't exist: name another with --data-dir or GRANARY_DATA")
    try:
        paths = sorted([*visible(root / "initial", 1), *visible(root / "incremental", 2)])
    except OSError as error:
        raise GranaryError(f"{error.filename}: {error.strerror}: make it readable, or move it away") from None
    return sorted(map(landing_file, paths), key=order)


def select(
    files: list[LandingFile], names: list[str], initial_only: bool = False, refused: Collection[str] = ()
) -> list[LandingFile]:
    """Return the files that the names select: a feed, an entity, a batch, or a path. Without names, return all.

    Raises GranaryError if a name selects none, unless it is that of a refused feed.
    """

    def matches(file: LandingFile, name: str) -> bool:
        same = name == file.relative or os.path.realpath(name) == os.path.realpath(file.path)
        return same or f"{file.label}/".startswith(f"{name.rstrip('/')}/")

    files = [file for file in files if not initial_only or file.relative.startswith("initial/")]
    for name in names:
        if name.partition("/")[0] not in refused and not any(matches(file, name) for file in files):
            raise GranaryError(f"no landing file matches {name}: name a feed, feed/entity, feed/entity/batch or a path")
    return [file for file in files if not names or any(matches(file, name) for name in names)]
