"""The names of the columns of a file, read from its beginning, as the format of its table says."""

from __future__ import annotations

import itertools
import json

from granary.loader import csv_records, json_records, streams, table_files
from granary.loader.landing import LandingFile
from granary.loader.records import PlainLines

ENOUGH = 1_000  # objects whose keys are looked at


def names_in(file: LandingFile) -> list[str]:
    """Return the names in a header, or the keys of the first objects of JSON.

    Raises GranaryError where there is no header, or the file can't be read, and OSError, EOFError or zlib.error where
    it is damaged.
    """
    if file.format in table_files.READERS:
        with table_files.opened(file) as table:
            return table.names
    with streams.opened(file) as (_, stream):
        if not file.format.startswith((".json", ".ndjson")):
            return list(csv_records.read_header(file, stream).names)
        found = json_records.json_lines(stream, lambda _: b"")
        if file.format == ".json":
            found = json_records.json_records(file, stream)
        names: dict[str, None] = {}
        for part in itertools.islice(found, ENOUGH):
            if not isinstance(part, PlainLines):
                names |= dict.fromkeys(keys_of(part.text))
        return list(names)


def keys_of(text: bytes) -> list[str]:
    """Return the keys of an object of JSON; none if the text is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return list(value) if isinstance(value, dict) else []
