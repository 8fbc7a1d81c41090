"""From landing files to rows: which files there are, what a header means, and which lines can't be rows.

Nothing here touches the warehouse. A file that can't be loaded at all raises GranaryError, whose message names the
file, the line and the way out; a line that can't be a row becomes a Line with a reason, and reading goes on.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tqdm
import yaml

from warehouse import GranaryError

EXTENSIONS = (".csv", ".json", ".jsonl")  # each also with .gz
BLOCK = 1 << 17  # bytes: larger ones don't make COPY faster
LIMIT = 64 << 20  # bytes: a longer line, record or JSON element counts as damaged, so that memory stays bounded
KEPT_TEXT = 1 << 20  # bytes of a rejected line that are kept
PROGRESS_FROM = 16 << 20  # bytes: smaller files are loaded before a bar could be read
DEEPEST_JSON = 100  # levels
MOST_COLUMNS = 1500  # PostgreSQL allows 1600
LONGEST_NAME = 63  # bytes, PostgreSQL's limit
LONGEST_TABLE_NAME = LONGEST_NAME - len("_row_id")  # its sequence is named after it


class Entity(NamedTuple):
    """A table that the dbt sources declare, and so a folder of landing files."""

    feed: str
    name: str
    columns: tuple[str, ...]
    declared_in: Path

    @property
    def table(self) -> str:
        """Name of the raw table."""
        return f"{self.feed}__{self.name}"


class LandingFile(NamedTuple):
    """A file below the data root; with a `problem` where it can't be told what it is."""

    path: Path
    relative: str  # to the data root, as the ledger names it
    label: str  # <feed>/<entity>/<batch>, as people name it
    format: str  # .csv, .json or .jsonl
    entity: Entity | None
    problem: str | None = None


class Header(NamedTuple):
    """The columns of a file, in its own order."""

    names: list[str]  # as delivered
    columns: list[str]  # as they are called in the raw table
    lines: int = 0  # physical lines that the header takes
    numbered_by: str = "line"
    sha256: str | None = None  # where finding the columns took the whole file


class Line(NamedTuple):
    """A row (values, one per column) or a line that can't be one (reason). `number` counts from 1."""

    number: int
    text: bytes
    values: list[bytes | None] | None = None
    reason: str | None = None

    def printable(self) -> bytes:
        """Return the text as PostgreSQL can hold it: escapes for the rest; of a long one, its start."""
        return self.text[:KEPT_TEXT].decode("utf-8", "backslashreplace").replace("\0", "\\x00").encode()


class NotARow(ValueError):
    """Why a line is rejected."""


# -- Which files there are ---------------------------------------------------------------------------------------------


def declared_entities(models: Path) -> dict[tuple[str, str], Entity]:
    """Return the tables of all dbt sources whose `loader` is bin/ingest, by (feed, entity), in declared order."""
    found: dict[tuple[str, str], Entity] = {}
    for path in sorted([*models.rglob("*.yml"), *models.rglob("*.yaml")]):
        text = path.read_text("utf-8")
        try:
            document = yaml.safe_load(text) if "bin/ingest" in text else None
        except yaml.YAMLError as error:
            raise GranaryError(f"{path}: this is not valid YAML: {error}") from None
        try:
            sources = [each for each in (document or {}).get("sources", []) if each.get("loader") == "bin/ingest"]
            for source, table in ((each, table) for each in sources for table in each["tables"]):
                columns = tuple(column["name"] for column in table.get("columns", []))
                entity = Entity(source["name"], table["name"], columns, path)
                check_declaration(entity, table.get("identifier"), found)
                found[entity.feed, entity.name] = entity
        except (AttributeError, KeyError, TypeError) as error:
            raise GranaryError(f"{path}: a source is declared in a way that can't be read ({error!r})") from None
    return found


def check_declaration(entity: Entity, identifier: str | None, others: dict[tuple[str, str], Entity]) -> None:
    """Raise GranaryError if a declared table could not be loaded, or if dbt would look for it elsewhere."""
    where = f"{entity.declared_in}: table {entity.name} of source {entity.feed}"
    if identifier != entity.table:
        raise GranaryError(f"{where} needs `identifier: {entity.table}`, because that is where the loader puts it")
    if any(other.table == entity.table for other in others.values()):
        raise GranaryError(f"{where}: another table is called {entity.table} already; rename one of them")
    if len(entity.table.encode()) > LONGEST_TABLE_NAME:
        raise GranaryError(f"{where}: {entity.table} is longer than {LONGEST_TABLE_NAME} bytes; choose shorter names")
    if not entity.columns:
        raise GranaryError(f"{where} declares no columns; list them under `columns:`")
    for column in entity.columns:
        if not column or snake_case(column) != column or entity.columns.count(column) > 1:
            raise GranaryError(f"{where}: column {column!r} must be a name in snake_case that is listed once")


def discover(root: Path, entities: dict[tuple[str, str], Entity]) -> list[LandingFile]:
    """Return the landing files below the data root, in the order of loading: initial ones, then batch by batch.

    Files and folders whose names begin with a dot are left alone. Batches are ordered as people count: 2 before 10.
    """
    if not root.is_dir():
        raise GranaryError(f"there is no data folder {root}; name another with --data-dir or GRANARY_DATA")
    try:
        files = [
            *(classify(root, path, 1, entities) for path in walk(root / "initial", 2)),
            *(classify(root, path, 2, entities) for path in walk(root / "incremental", 3)),
        ]
    except OSError as error:
        raise GranaryError(
            f"{error.filename} can't be read ({error.strerror}); make it readable or move it away"
        ) from None
    position = {entity: number for number, entity in enumerate(entities.values())}

    def order(file: LandingFile) -> tuple[Any, ...]:
        stage, _, rest = file.relative.partition("/")
        batch = [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", rest.rpartition("/")[2])]
        feed = file.entity.feed if file.entity else ""
        return (
            stage != "initial",
            batch if stage != "initial" else [],
            feed,
            position.get(file.entity, -1),
            file.relative,
        )

    return sorted(files, key=order)


def walk(folder: Path, levels: int) -> Iterator[Path]:
    """Yield what lies in a folder and, down to so many levels, in the folders in it."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        if levels > 1 and path.is_dir():
            yield from walk(path, levels - 1)
        else:
            yield path


def classify(root: Path, path: Path, depth: int, entities: dict[tuple[str, str], Entity]) -> LandingFile:
    """Tell what a file is from its path, or what is wrong with it. `depth`: how many folders it should lie in."""
    relative = path.relative_to(root).as_posix()
    printable = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in relative
    )
    _, *folders, name = relative.split("/")
    unpacked = Path(name[:-3] if name.lower().endswith(".gz") else name)
    stem, extension = unpacked.stem, unpacked.suffix.lower()
    feed, entity, batch = [*folders, stem, "initial", "initial"][:3]
    problem = None
    if path.is_dir():
        problem = "a folder this deep isn't read; move its files up"
    elif len(folders) != depth:
        problem = "it belongs in initial/<feed>/ or incremental/<feed>/<entity>/; move it there, or away"
    elif extension not in EXTENSIONS:
        problem = f"only {', '.join(EXTENSIONS)} and the same with .gz are read; convert it, or move it away"
    elif printable != relative:
        problem = "its name holds characters that can't be printed; rename it"
    elif not path.is_file():
        problem = "it is no regular file (or a link to nowhere); move it away"
    elif feed not in {declared for declared, _ in entities}:
        problem = (
            f'feed "{feed}" is not declared; add a source {feed} with `loader: bin/ingest` below dbt/models/staging, '
            "or move the folder away"
        )
    elif (feed, entity) not in entities:
        declared_in = next(e.declared_in for e in entities.values() if e.feed == feed)
        problem = f'feed {feed} has no entity "{entity}"; add a table to {declared_in}, or move the file away'
    label = f"{feed}/{entity}/{batch}" if not problem else printable.partition("/")[2]
    return LandingFile(
        path, relative if not problem else printable, label, extension, entities.get((feed, entity)), problem
    )


def select(files: list[LandingFile], names: list[str], initial_only: bool) -> list[LandingFile]:
    """Return the files that are named: a feed, an entity, a batch, or a path. Without names, all of them."""

    def is_called(file: LandingFile, name: str) -> bool:
        name = name.rstrip("/")
        return (
            f"{file.label}/".startswith(f"{name}/")
            or name == file.relative
            or Path(name).resolve() == file.path.resolve()
        )

    files = [file for file in files if not initial_only or file.relative.startswith("initial/")]
    for name in names:
        if not any(is_called(file, name) for file in files):
            raise GranaryError(
                f"no landing file is called {name}; a name is <feed>, <feed>/<entity>, <feed>/<entity>/<batch>"
                " or a file's path"
            )
    return [file for file in files if not names or any(is_called(file, name) for name in names)]


# -- Opening files -----------------------------------------------------------------------------------------------------


class Source(io.RawIOBase):
    """A file that is hashed, and shown in a progress bar, while it is read. `stream` gives its unpacked bytes."""

    def __init__(self, file: LandingFile) -> None:
        super().__init__()
        self.landing_file = file
        self.file = file.path.open("rb", buffering=0)
        self.size = os.fstat(self.file.fileno()).st_size
        self.hash, self.bytes_read = hashlib.sha256(), 0
        hidden = None if self.size >= PROGRESS_FROM else True  # None: tqdm shows it on a terminal only
        self.bar = tqdm.tqdm(total=self.size, desc=file.label, unit="B", unit_scale=True, leave=False, disable=hidden)
        packed = file.path.name.lower().endswith(".gz")
        unpacked = gzip.GzipFile(fileobj=io.BufferedReader(self, BLOCK), mode="rb") if packed else self
        self.stream = io.BufferedReader(unpacked, BLOCK)

    def readable(self) -> bool:
        """Say that this can be read (io.RawIOBase asks)."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as io.RawIOBase does, and take note of what was read."""
        count = self.file.readinto(buffer)
        self.hash.update(memoryview(buffer)[:count])
        self.bytes_read += count
        self.bar.update(count)
        return count

    def finish(self) -> str:
        """Read what is left (padding after gzip data, say) and return the SHA-256 of the whole file."""
        while self.read(BLOCK):
            pass
        if self.bytes_read != self.size:
            raise changed(self.landing_file)
        return self.hash.hexdigest()

    def close(self) -> None:
        """Close the file and the bar."""
        self.bar.close()
        self.file.close()
        super().close()


@contextlib.contextmanager
def opened(file: LandingFile) -> Iterator[Source]:
    """Open a file at its first character (after a byte order mark). Damage of its gzip data raises GranaryError."""
    try:
        with Source(file) as source:
            start = source.stream.peek(3)[:3]
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise GranaryError(f"{file.relative}, line 1: the file is UTF-16; save it as UTF-8")
            if start == b"\xef\xbb\xbf":
                source.stream.read(3)
            yield source
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise GranaryError(
            f"{file.relative}: its gzip data is damaged or cut off ({error}); deliver it again"
        ) from None


def changed(file: LandingFile) -> GranaryError:
    """Return the error for a file that is not the same in two readings."""
    return GranaryError(f"{file.relative}: the file changed while it was read; load it again when it is complete")


def sha256(file: LandingFile) -> str:
    """Return the SHA-256 of a file's bytes, as they were delivered."""
    with contextlib.closing(Source(file)) as source:
        return source.finish()


# -- Headers -----------------------------------------------------------------------------------------------------------


def read_header(file: LandingFile, source: Source) -> Header:
    """Return a file's columns: of CSV from the first record (`source` stands after it then), of JSON from all objects.

    Raises GranaryError where they can't be the columns of the entity's table.
    """
    if file.format == ".csv":
        record = next(csv_lines(source.stream, 1, width=None), None)
        if record is None:
            raise GranaryError(f"{file.relative}, line 1: the file is empty; a CSV file begins with a header")
        if record.reason:
            raise GranaryError(f"{file.relative}, line 1: this is no header: {record.reason}; correct it")
        names = [name.decode() for name in record.values]
        lines = record.text.count(b"\n") + 1
        return Header(names, columns_of(file, names, [1] * len(names)), lines)
    names_at: dict[str, int] = {}
    previous, numbered_by, first_bad = 0, "line", None
    for number, text in json_texts(file, source.stream):
        numbered_by, previous = ("element" if number == previous else numbered_by), number
        try:
            for name in json_object(text):
                names_at.setdefault(name, number)
        except NotARow as error:
            first_bad = first_bad or f"{file.relative}, line {number}: {error}"
        if len(names_at) > MOST_COLUMNS:
            raise GranaryError(
                f"{file.relative}, line {number}: the objects have over {MOST_COLUMNS} different keys; nest them"
            )
    if first_bad and not names_at:
        raise GranaryError(f"{first_bad}, and no other line holds an object either; deliver objects")
    if not previous and file.format == ".jsonl":
        raise GranaryError(f"{file.relative}, line 1: the file is empty; move it away if nothing was to be delivered")
    columns = columns_of(file, list(names_at), list(names_at.values())) if previous else []
    return Header(list(names_at), columns, 0, numbered_by, source.finish())


def columns_of(file: LandingFile, names: list[str], lines: list[int]) -> list[str]:
    """Return the raw table's names for a header's names; raise GranaryError where that can't be done safely."""
    columns: dict[str, str] = {}
    for position, (name, line) in enumerate(zip(names, lines, strict=True), start=1):
        where, column = f"{file.relative}, line {line}", snake_case(name)
        if not column:
            raise GranaryError(f'{where}: column {position} has no name ("{name}"); name it in the file\'s header')
        if columns.get(column) == name:
            raise GranaryError(f'{where}: column "{name}" is there twice; rename or remove one of them')
        if column in columns:
            raise GranaryError(
                f'{where}: columns "{columns[column]}" and "{name}" both become {column}; '
                "rename one of them in the file's header"
            )
        if len(column.encode()) > LONGEST_NAME:
            raise GranaryError(
                f"{where}: column {column} is longer than {LONGEST_NAME} bytes; shorten it in the file's header"
            )
        columns[column] = name
    missing = [column for column in file.entity.columns if column not in columns]
    if missing:
        other = next((s for s in ";\t|" if len(names) == 1 and s in names[0]), None)
        hint = f"; the columns seem to be separated by {other!r}, and must be by a comma" if other else ""
        raise GranaryError(
            f"{file.relative}, line {min(lines, default=1)}: no column {', '.join(missing)} "
            f"(there is {', '.join(columns)}){hint}; add it to the file, or change {file.entity.declared_in}"
        )
    return list(columns)


def snake_case(name: str) -> str:
    """Return a name as a column is called: `Order ID`, `orderId` and `ORDER-ID` are all order_id."""
    name = unicodedata.normalize("NFKC", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def read_lines(file: LandingFile, source: Source, header: Header) -> Iterator[Line]:
    """Return the lines of a newly opened file, good and bad, its header excepted."""
    if file.format != ".csv":
        return json_lines(file, source.stream, header)
    if read_header(file, source) != header:
        raise changed(file)
    return csv_lines(source.stream, header.lines + 1, len(header.columns))


# -- CSV, as it is -----------------------------------------------------------------------------------------------------


class PlainBlocks:
    """The rest of a CSV file in blocks of whole lines, as long as PostgreSQL surely reads them as csv_lines would.

    Iteration ends early, with `plain` false, where a quote or a carriage return stands in an odd place. `lines` counts
    the physical lines: where COPY made as many rows, there was one on each line, and their numbers are known.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        self.stream, self.lines, self.plain = stream, 0, True

    def __iter__(self) -> Iterator[bytes]:
        while block := self.stream.read(BLOCK):
            if not block.endswith(b"\n"):
                block += self.stream.readline(LIMIT)
            if not is_plain(block):
                self.plain = False
                return
            self.lines += block.count(b"\n") + (not block.endswith(b"\n"))
            yield block


def is_plain(block: bytes) -> bool:
    """Tell whether every quote belongs to a well-formed quoted field, and every carriage return to a line's end.

    PostgreSQL drops a stray quote in silence (12" pipe becomes 12 pipe). Cut at every quote, each second piece is
    outside of quotes: it must begin and end at a field's border, or be empty (a doubled quote). Counting that is fast.
    """
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return False
    if b'"' not in block:
        return True
    pieces = block.split(b'"')
    outside = pieces[::2]
    outside[0], outside[-1] = b"\n" + outside[0], outside[-1] + b"\n"
    outside = [piece for piece in outside if piece]
    seams = b'"'.join(outside)
    openings = seams.count(b',"') + seams.count(b'\n"')
    closings = seams.count(b'",') + seams.count(b'"\n') + seams.count(b'"\r')
    return len(pieces) % 2 == 1 and openings == closings == len(outside) - 1


# -- CSV, with care ----------------------------------------------------------------------------------------------------


def csv_lines(stream: io.BufferedReader, number: int, width: int | None) -> Iterator[Line]:
    """Yield the records from a stream that stands at line `number`; each should have `width` fields (None: any).

    A malformed record costs its first physical line only, so that one stray quote doesn't swallow the file. A quote
    inside an unquoted field is part of its value.
    """
    held = io.BytesIO()  # lines that were read in search of a closing quote and have to be looked at again

    def take_held() -> bytes:
        if line := held.readline():
            return line
        line = physical_line(stream)
        held.write(line)
        return line

    while line := held.readline() or physical_line(stream):
        if held.tell() == held.getbuffer().nbytes:
            held.seek(0)
            held.truncate()
        resume = held.tell()
        try:
            record, fields = split_record(line, take_held, width)
            text = without_line_end(bytes(record))
            if not text:
                raise NotARow("a blank line")
            if b"\0" in text:
                raise NotARow("it holds a NUL character")
            check_utf8(text)
            if width is not None and len(fields) != width:
                raise NotARow(f"it has {len(fields)} fields, and the header has {width}")
            yield Line(number, text, fields)
        except MalformedRecord as error:
            record = line
            held.seek(resume)
            yield Line(number, without_line_end(line), reason=str(error))
        except NotARow as error:
            yield Line(number, text, reason=str(error))
        number += record.count(b"\n")


class MalformedRecord(NotARow):
    """It can't be told where the record ends."""


def physical_line(stream: io.BufferedReader) -> bytes:
    """Return the next line with its line end. One that is over LIMIT comes cut off, and still longer than LIMIT."""
    line = stream.readline(LIMIT)
    if len(line) == LIMIT and not line.endswith(b"\n"):
        while (rest := stream.readline(LIMIT)) and not rest.endswith(b"\n"):
            pass
        line += b" \n"
    return line


def split_record(record: bytes, more: Callable[[], bytes], width: int | None) -> tuple[bytes | bytearray, list[bytes]]:
    """Return a record and its fields; `more` gives the next line where a quoted field goes on."""
    if len(record) > LIMIT:
        raise MalformedRecord(f"it is longer than {LIMIT} bytes")
    stop = len(without_line_end(record))
    if b'"' not in record:
        if record.find(b"\r", 0, stop) >= 0:
            raise MalformedRecord("a carriage return outside of quotes")
        return record, record[:stop].split(b",")
    fields: list[bytes] = []
    at = 0
    while at <= stop:
        if record.startswith(b'"', at):
            end = closing_quote(record, at + 1)
            while end < 0:
                line = more()
                # A record with too many fields already is no reason to look further: its quote is a stray one.
                if not line or len(record) + len(line) > LIMIT or len(fields) > (width or MOST_COLUMNS):
                    raise MalformedRecord("a quote is opened and never closed")
                searched, record = len(record), record if isinstance(record, bytearray) else bytearray(record)
                record += line
                stop = len(record) - len(line) + len(without_line_end(line))
                end = closing_quote(record, searched)
            fields.append(bytes(record[at + 1 : end].replace(b'""', b'"')))
            at = end + 1
            if at < stop and record[at] != ord(","):
                raise MalformedRecord("there is text after a closing quote")
        else:
            end = record.find(b",", at, stop)
            fields.append(bytes(record[at : end if end >= 0 else stop]))
            at += len(fields[-1])
            if b"\r" in fields[-1]:
                raise MalformedRecord("a carriage return outside of quotes")
        at += 1
    return record, fields


def closing_quote(record: bytes | bytearray, at: int) -> int:
    """Return where the quoted text that `at` lies in ends, or -1."""
    end = record.find(b'"', at)
    while end >= 0 and record.startswith(b'"', end + 1):
        end = record.find(b'"', end + 2)
    return end


def without_line_end(line: bytes) -> bytes:
    """Return a line without its line end, which is a line feed, a carriage return, or both."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def check_utf8(text: bytes) -> str:
    """Return the decoded text; raise NotARow where it isn't UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise NotARow(f"it is not UTF-8 (byte 0x{text[error.start]:02x} at byte {error.start + 1})") from None


def csv_row(values: list[bytes | None]) -> bytes:
    """Return a line of CSV in which None is null, and an empty value is not."""
    return b",".join([b"" if value is None else b'"%b"' % value.replace(b'"', b'""') for value in values]) + b"\n"


# -- JSON --------------------------------------------------------------------------------------------------------------


def json_lines(file: LandingFile, stream: io.BufferedReader, header: Header) -> Iterator[Line]:
    """Yield the objects of a JSON file, as rows of the header's columns. What an object lacks, and null, is None."""
    for count, (line, text) in enumerate(json_texts(file, stream), start=1):
        number = count if header.numbered_by == "element" else line
        try:
            row = json_object(text)
            yield Line(number, text, [row.get(name) for name in header.names])
        except NotARow as error:
            yield Line(number, text, reason=str(error))


def json_texts(file: LandingFile, stream: io.BufferedReader) -> Iterator[tuple[int, bytes]]:
    """Yield (physical line, text) of each line of JSON lines, or of each element of a JSON array."""
    if file.format == ".json":
        yield from array_elements(file, stream)
        return
    number = 0
    while line := physical_line(stream):
        number += 1
        yield number, without_line_end(line)


def array_elements(file: LandingFile, stream: io.BufferedReader) -> Iterator[tuple[int, bytes]]:
    """Yield (physical line, text) of each element of a JSON array; what an element holds is not looked at.

    Where an array is cut off or has no commas, what follows can't be trusted, so that raises GranaryError.
    """
    buffer, at, line = b"", 0, 1

    def next_byte() -> bytes:
        nonlocal buffer, at, line
        while True:
            end = JSON_SPACE.match(buffer, at).end()
            line += buffer.count(b"\n", at, end)
            at = end
            if at < len(buffer):
                return buffer[at : at + 1]
            buffer, at = stream.read(BLOCK), 0
            if not buffer:
                return b""

    def expect(what: bytes, otherwise: str) -> bytes:
        nonlocal at
        found = next_byte()
        if not found or found not in what:
            raise GranaryError(f"{file.relative}, line {line}: {otherwise}; deliver it again")
        at += 1
        return found

    expect(b"[", "a .json file holds an array of objects and begins with [ (name it .jsonl if each line is an object)")
    separator = b"," if next_byte() != b"]" else expect(b"]", "")
    while separator == b",":
        next_byte()
        while (end := element_end(buffer, at)) < 0:
            more = stream.read(max(BLOCK, len(buffer) - at))  # doubling, so that looking again costs little
            if not more or len(buffer) - at > LIMIT:
                raise GranaryError(
                    f"{file.relative}, line {line}: the array is cut off in what begins here; deliver it again"
                )
            buffer, at = buffer[at:] + more, 0
        if end == at:
            raise GranaryError(f"{file.relative}, line {line}: an element of the array is missing; deliver it again")
        yield line, buffer[at:end]
        line += buffer.count(b"\n", at, end)
        at = end
        separator = expect(b",]", "the array is cut off, or a comma is missing")
    if next_byte():
        raise GranaryError(f"{file.relative}, line {line}: there is text after the array's end; deliver it again")


JSON_SPACE = re.compile(rb"[ \t\r\n]*")
JSON_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
NESTED_TOKEN = re.compile(JSON_STRING + rb'|["\[\]{}]', re.DOTALL)
SCALAR_TOKEN = re.compile(JSON_STRING + rb'|["\[\]{},]', re.DOTALL)


def element_end(buffer: bytes, at: int) -> int:
    """Return where the array element that begins at `at` ends, or -1 if the buffer ends before it."""
    depth = 0
    for token in (NESTED_TOKEN if buffer[at : at + 1] in (b"{", b"[") else SCALAR_TOKEN).finditer(buffer, at):
        kind = token[0]
        if kind == b'"':  # a string that isn't complete
            return -1
        if kind in (b"{", b"["):
            depth += 1
        elif kind in (b"}", b"]"):
            if depth == 0:
                return token.start()
            depth -= 1
            if depth == 0:
                return token.end()
        elif kind == b"," and depth == 0:
            return token.start()
    return -1


class Number(str):
    """A JSON number, kept as the text it was delivered as."""


def json_object(text: bytes) -> dict[str, bytes | None]:
    """Return an object's values as text; raise NotARow if it is none, or holds what PostgreSQL's text can't."""
    if not text.strip():
        raise NotARow("a blank line")
    if len(text) > LIMIT:
        raise NotARow(f"it is longer than {LIMIT} bytes")
    try:
        parsed = JSON_DECODER.decode(check_utf8(text))
        if not isinstance(parsed, dict):
            raise NotARow("it is not a JSON object")
        "".join(parsed).encode()
        return {name: None if value is None else text_of(value).encode() for name, value in parsed.items()}
    except json.JSONDecodeError as error:
        raise NotARow(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeEncodeError:
        raise NotARow("it holds half of a surrogate pair") from None
    except RecursionError:
        raise NotARow(f"it is nested over {DEEPEST_JSON} levels deep") from None


def text_of(value: Any) -> str:
    """Return the text that lands for a JSON value other than null: strings and numbers as delivered, else JSON."""
    return nested_text(value, 0) if not isinstance(value, str) or "\0" in value else value


def nested_text(value: Any, depth: int) -> str:
    """Return a value as JSON, its numbers as delivered."""
    if depth > DEEPEST_JSON:
        raise NotARow(f"it is nested over {DEEPEST_JSON} levels deep")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{nested_text(k, depth)}: {nested_text(v, depth + 1)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(nested_text(v, depth + 1) for v in value) + "]"
    if isinstance(value, Number):
        return value
    if isinstance(value, str) and "\0" in value:
        raise NotARow("it holds a NUL character")
    return json.dumps(value, ensure_ascii=False)


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; raise NotARow where a key is there twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise NotARow(f'key "{next(name for name in names if names.count(name) > 1)}" is there twice')
    return made


def refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which Python reads and JSON doesn't have."""
    raise NotARow(f"it is not JSON: {name}")


JSON_DECODER = json.JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=refuse_constant, object_pairs_hook=unique_object
)
