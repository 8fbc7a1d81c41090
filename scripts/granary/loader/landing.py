"""From landing files to rows: which files there are, what a header means, and which lines can't be rows.

Nothing here touches the warehouse. A file that can't be loaded at all raises GranaryError, whose message names the
file, the line and the way out. A line that can't be a row is passed on with the reason, and reading goes on.
"""

from __future__ import annotations

import codecs
import collections
import contextlib
import csv
import gzip
import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tqdm

from granary.declared import LONGEST_NAME, Entity
from granary.project import GranaryError
from granary.text import snake_case

BLOCK = 1 << 16  # bytes: larger ones make COPY wait
LIMIT = 8 << 20  # bytes: a longer line, record or JSON element counts as damaged, so that memory stays bounded
DEEPEST = 1000  # levels of nested JSON: PostgreSQL's stack is limited
KEPT_TEXT = 1_000_000  # characters of a rejected line that are kept
PROGRESS_FROM = 16 << 20  # bytes: smaller files are loaded before a bar could be read

FILE = r"{}/(?P<feed>[^/]+)/(?P<entity>[^/]+?){}(?P<format>\.csv|\.json|\.jsonl)(?:\.gz)?"
INITIAL = re.compile(FILE.format("initial", ""), re.IGNORECASE)
INCREMENTAL = re.compile(FILE.format("incremental", "/(?P<batch>[^/]+?)"), re.IGNORECASE)
QUOTED_FIELD = re.compile(rb'"(?<![^,\n]")[^"]*(?:""[^"]*)*"(?![^,\r\n])')  # looking back last is faster

STRANGER = (
    "this is no file of a declared entity; such files are initial/<feed>/<entity>.csv (or .json, .jsonl, also .gz) and"
    " incremental/<feed>/<entity>/<batch>.csv; declare it in the dbt sources, rename it, or move it away"
)
csv.field_size_limit(LIMIT)
Record = tuple[int, bytes, list[str], str | None]  # line number, text, fields of CSV, what is wrong


class LandingFile(NamedTuple):
    """A file below the data root. Without an entity, it is none that can be loaded."""

    path: Path
    relative: str  # to the data root, as the ledger names it
    label: str  # <feed>/<entity>/<batch>, as people name it
    format: str = ""  # .csv, .json or .jsonl
    entity: Entity | None = None


# -- Which files there are ---------------------------------------------------------------------------------------------


def discover(root: Path, entities: dict[tuple[str, str], Entity]) -> list[LandingFile]:
    """Return the landing files below the data root in the order of loading: initial ones, then batch by batch.

    Names that begin with a dot are left alone. Batches are ordered as people count: 2 before 10.
    """

    def visible(folder: Path, levels: int) -> Iterator[Path]:
        for path in folder.iterdir() if folder.is_dir() else []:
            if not path.name.startswith("."):
                yield from visible(path, levels - 1) if levels and path.is_dir() else [path]

    def landing_file(path: Path) -> LandingFile:
        relative = path.relative_to(root).as_posix()
        match = INITIAL.fullmatch(relative) or INCREMENTAL.fullmatch(relative)
        if not match or not path.is_file() or not relative.isprintable():
            return LandingFile(path, relative if relative.isprintable() else ascii(relative), relative)
        name = {"batch": "initial", **match.groupdict()}
        label, entity = "{feed}/{entity}/{batch}".format(**name), entities.get((name["feed"], name["entity"]))
        return LandingFile(path, relative, label, name["format"].lower(), entity)

    def order(file: LandingFile) -> tuple[Any, ...]:
        batch = re.split("([0-9]+)", file.label.rpartition("/")[2])
        batch[1::2] = map(int, batch[1::2])
        return file.relative.startswith("incremental/"), batch, [*entities.values(), None].index(file.entity)

    if entities and not root.is_dir():
        raise GranaryError(f"there is no data folder {root}; name another with --data-dir or GRANARY_DATA")
    try:
        paths = sorted([*visible(root / "initial", 1), *visible(root / "incremental", 2)])
    except OSError as error:
        raise GranaryError(f"{error.filename}: {error.strerror}; make it readable, or move it away") from None
    return sorted(map(landing_file, paths), key=order)


def select(files: list[LandingFile], names: list[str], initial_only: bool) -> list[LandingFile]:
    """Return the files that are named: a feed, an entity, a batch, or a path. Without names, all of them."""

    def is_called(file: LandingFile, name: str) -> bool:
        same = name == file.relative or Path(name).resolve() == file.path.resolve()
        return same or f"{file.label}/".startswith(f"{name.rstrip('/')}/")

    files = [file for file in files if not initial_only or file.relative.startswith("initial/")]
    for name in names:
        if not any(is_called(file, name) for file in files):
            raise GranaryError(f"no landing file is called {name}; name a feed, feed/entity, feed/entity/batch or path")
    return [file for file in files if not names or any(is_called(file, name) for name in names)]


# -- Opening files -----------------------------------------------------------------------------------------------------


class Source(io.FileIO):
    """A file that is hashed, and shown in a progress bar, while it is read."""

    def __init__(self, file: LandingFile) -> None:
        super().__init__(file.path)
        size = file.path.stat().st_size
        hidden = None if size >= PROGRESS_FROM else True  # None: the bar is shown on a terminal only
        self.bar = tqdm.tqdm(total=size, desc=file.label, unit="B", unit_scale=True, leave=False, disable=hidden)
        self.hash = hashlib.sha256()

    def readinto(self, buffer: Any) -> int:
        """Read as FileIO does, and take note of what was read."""
        count = super().readinto(buffer)
        self.hash.update(memoryview(buffer)[:count])
        self.bar.update(count)
        return count

    def digest(self) -> str:
        """Read on to the end; return the SHA-256 of the file as it was delivered."""
        while self.readinto(bytearray(BLOCK)):
            pass
        return self.hash.hexdigest()


@contextlib.contextmanager
def opened(file: LandingFile) -> Iterator[tuple[Source, io.BufferedReader]]:
    """Give a file, and its bytes out of gzip, from after a byte order mark."""
    with Source(file) as source, source.bar:
        stream = io.BufferedReader(source, BLOCK)
        if file.path.suffix.lower() == ".gz":
            stream = io.BufferedReader(gzip.GzipFile(fileobj=stream), BLOCK)
        if stream.peek(3).startswith(codecs.BOM_UTF8):
            stream.read(3)
        yield source, stream


# -- Headers -----------------------------------------------------------------------------------------------------------


def read_header(file: LandingFile) -> tuple[list[str], int]:
    """Return the names in a CSV file's header, and how many physical lines it takes."""
    with opened(file) as (_, stream):
        _, text, names, problem = next(csv_lines(stream), (1, b"", [], "the file is empty"))
    if problem := problem or problem_of(text):
        raise GranaryError(f"{file.relative}, line 1: this is no header: {problem}; correct it")
    return names, text.rstrip(b"\r\n").count(b"\n") + 1


def columns_of(file: LandingFile, names: Iterable[str]) -> list[str]:
    """Return the raw table's names for a file's names; raise GranaryError where that can't be done safely."""
    columns, where = {}, f"{file.relative}, line 1"
    for name in names:
        column = snake_case(name)
        if not column or max(len(name.encode()), len(column.encode())) > LONGEST_NAME:
            raise GranaryError(f'{where}: "{name}" is no name of 1 to {LONGEST_NAME} bytes; rename it')
        if column in columns:
            raise GranaryError(f'{where}: columns "{columns[column]}" and "{name}" both become {column}; rename one')
        columns[column] = name
    if missing := [column for column in file.entity.columns if column not in columns]:
        there = f"no column {', '.join(missing)} (there is {', '.join(columns) or 'no row'})"
        raise GranaryError(f"{where}: {there}; add it to the file, or change the dbt source {file.entity.feed}")
    return list(columns)


# -- CSV, as it is -----------------------------------------------------------------------------------------------------


def plain_blocks(stream: io.BufferedReader, lines: list[int]) -> Iterator[bytes]:
    """Yield CSV in blocks of whole lines; raise csv.Error where PostgreSQL might not read them as csv_lines would.

    The number of each block's physical lines is added to `lines`: where COPY makes as many rows, there is one on each.
    """
    while block := stream.read(BLOCK):
        if not block.endswith(b"\n"):
            block += stream.readline(LIMIT)
        if not is_plain(block):
            raise csv.Error("a quote or a carriage return stands in an odd place")
        lines.append(block.count(b"\n") + (not block.endswith(b"\n")))
        yield block


def is_plain(block: bytes) -> bool:
    """Tell whether every quote belongs to a well-formed quoted field, and every carriage return to a line's end.

    PostgreSQL drops a stray quote in silence: 12" by 13" becomes 12 by 13.
    """
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return False
    return b'"' not in QUOTED_FIELD.sub(b"", block)


# -- Line by line ------------------------------------------------------------------------------------------------------


def read_lines(file: LandingFile, stream: io.BufferedReader) -> Iterator[tuple[int, str, str | None]]:
    """Yield (line number, JSON, None) of each line, or (line number, text, what is wrong with it).

    Records of CSV become JSON objects. What JSON is delivered isn't looked at. Elements of an array that share a line
    are numbered on from there.
    """
    number, names = 0, []
    if file.format == ".csv":
        names, _ = read_header(file)
        lines = itertools.islice(csv_lines(stream, len(names)), 1, None)
    elif file.format == ".json":
        lines = array_elements(file, stream)
    else:
        lines = ((line, text, [], None) for line, text in enumerate(iter(lambda: physical_line(stream), b""), start=1))
    for line, delivered, fields, problem in lines:
        number, text = max(line, number + 1), delivered.rstrip(b"\r\n")
        if problem := problem or problem_of(text) or (None if names else problem_of_json(text)):
            yield number, text[:KEPT_TEXT].decode("utf-8", "backslashreplace").replace("\0", "\\x00"), problem
        else:
            yield number, json.dumps(dict(zip(names, fields, strict=True))) if names else text.decode(), None


def problem_of(text: bytes) -> str | None:
    """Say why text can't be a row, whatever it says."""
    if len(text) > LIMIT:
        return f"it is longer than {LIMIT} bytes"
    if b"\0" in text:
        return "it holds a NUL character"
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 (byte 0x{text[error.start]:02x} at byte {error.start + 1})"
    return None


def problem_of_json(text: bytes) -> str | None:
    """Say whether JSON is nested too deeply. What else may be wrong with it, PostgreSQL says."""
    if text.count(b"[") + text.count(b"{") > DEEPEST:
        brackets = re.sub(rb'"(?:[^"\\]|\\.)*"|[^][{}]', b"", text)
        depths = itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
        if max(depths, default=0) > DEEPEST:
            return f"it is nested more than {DEEPEST} levels deep"
    return None


def physical_line(stream: io.BufferedReader) -> bytes:
    """Return the next line with its line end. Of one that is over LIMIT, return the first bytes, and still too many."""
    line = rest = stream.readline(LIMIT + 2)
    while len(rest) > LIMIT + 1 and not rest.endswith(b"\n"):
        rest = stream.readline(LIMIT + 2)
    return line


def csv_lines(stream: io.BufferedReader, width: int | None = None) -> Iterator[Record]:
    """Yield the records of a CSV file, the header among them; each should have `width` fields (None: any).

    A malformed record costs its first physical line only, so that one stray quote doesn't swallow the file. A quote
    inside an unquoted field is part of its value.
    """
    held: collections.deque[bytes] = collections.deque()  # lines that have to be looked at again
    taken: list[bytes] = []  # lines of the record that is being read

    def take() -> Iterator[str]:
        size = commas = 0
        # A record with too many fields already is no reason to look further: its quote is a stray one.
        while commas < (width or 1600) and (line := held.popleft() if held else physical_line(stream)):
            commas += b"".join(line.split(b'"')[1::2]).count(b",") if taken else 0
            size += len(line)
            taken.append(line)
            if size > LIMIT:
                raise csv.Error(f"it is longer than {LIMIT} bytes")
            yield line.decode("utf-8", "replace").replace("\0", "\ufffd")  # refused below, once the record is known
        if taken:
            raise csv.Error("a quote is opened and never closed")

    number = 1
    while True:
        try:
            fields, problem = next(csv.reader(take(), strict=True), None), None
            if fields is None:
                return
            if len(fields) != (width or len(fields) or 1):
                problem = f"it has {len(fields)} fields, and the header has {width}" if fields else "a blank line"
        except csv.Error as error:
            held.extendleft(taken[:0:-1])
            del taken[1:]
            fields, problem = [], str(error).partition(" - ")[0]
        yield number, b"".join(taken), fields, problem
        number += len(taken)
        taken.clear()


def array_elements(file: LandingFile, stream: io.BufferedReader) -> Iterator[Record]:
    """Yield the elements of a JSON array. What is in an element is not looked at.

    Where the array is cut off or isn't JSON, what follows can't be trusted, so that raises GranaryError.
    """
    text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="\n")
    decoder = json.JSONDecoder(strict=False, parse_int=str)
    buffer, at, line, separator = "", 0, 1, re.compile(r"\s*[,\[]?\s*")
    while True:
        start, end = separator.match(buffer, at).end(), len(buffer)
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            end = decoder.raw_decode(buffer, start)[1]
        first = line + buffer.count("\n", at, start)
        if end < len(buffer) and buffer[end] in ",] \t\r\n":  # a number at the buffer's end might go on
            yield first, buffer[start:end].encode("utf-8", "surrogateescape"), [], None
            at, line = end, first + buffer.count("\n", start, end)
        elif end - at < LIMIT and (more := text.read(max(BLOCK, end - at))):  # doubling: it may be looked at again
            buffer, at = buffer[at:] + more, 0
        elif buffer[start:].strip() == "]":
            text.detach()  # or it would close the stream
            return
        else:
            raise GranaryError(f"{file.relative}, line {first}: the JSON array is damaged or cut off; deliver it again")
