"""Files that were rewritten to forget a person: put them in place, and never load again what they were before.

raw._forgotten_files is written in the transaction that replaces the values in the database, when each rewritten file
lies beside the delivered one. Whoever comes next and holds the lock, bin/forget or bin/ingest, puts them in place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from granary.loader import streams
from granary.loader.landing import LandingFile
from granary.project import GranaryError

PREFIX = ".rewritten."  # of names of files that wait; bin/ingest ignores those that begin with a dot


def rewritten(path: Path) -> Path:
    """Return where the rewritten file is until it takes the place of the delivered one."""
    return path.with_name(f"{PREFIX}{path.name}")


def checked(cursor: Any, file: LandingFile, digest: str) -> str:
    """Return the hash of a file, whose rewritten bytes are put in place if they still wait for it.

    Raises GranaryError if the bytes are those of before a person was forgotten.
    """
    query = (
        "select path, is_in_place, forgotten_at::date from raw._forgotten_files inner join raw._forgotten using"
        " (forgotten_id) where sha256_before = %s order by is_in_place, path = %s desc limit 1"
    )
    cursor.execute(query, [digest, file.relative])
    if not (found := cursor.fetchone()):
        return digest
    path, is_in_place, day = found
    if path == file.relative and not is_in_place:
        put_in_place(cursor, file.root)
        return streams.sha256(file)
    raise GranaryError(
        f"{file.relative}: these bytes hold a person who was forgotten on {day}: remove it; its rows are in {path}"
    )


def put_in_place(cursor: Any, root: Path) -> list[str]:
    """Let rewritten files take the place of the delivered ones below a data root; return the paths of those that can't.

    Each step can be repeated, so nothing is lost if the process ends in between, or the transaction is undone.
    """
    cursor.execute(
        "select forgotten_id, path, sha256_before, sha256_after from raw._forgotten_files"
        " where not is_in_place order by forgotten_id, path"
    )
    missing = []
    for forgotten_id, name, before, after in cursor.fetchall():
        path = (root / name).resolve()
        waiting = rewritten(path)
        if waiting.exists() and (not path.exists() or hash_of(root, name) == before):
            waiting.replace(path)
            sync(path.parent)
        if not path.exists() or hash_of(root, name) != after:
            missing.append(name)
            continue
        cursor.execute(
            "update raw._forgotten_files set is_in_place = true where forgotten_id = %s and path = %s",
            [forgotten_id, name],
        )
    return missing


def hash_of(root: Path, name: str) -> str:
    """Return the SHA-256 of a file below the data root."""
    return streams.sha256(LandingFile(root, name))


def sync(folder: Path) -> None:
    """Make sure that a change of names in a folder outlives a crash of the machine."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
