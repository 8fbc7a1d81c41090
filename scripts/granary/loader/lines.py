"""Which rows a landing file holds: opened and hashed, read block by block where it is plain CSV, else line by line.

A file that can't be loaded at all raises GranaryError, which names the file, the line and the way out. A line that
can't be a row is passed on with the reason, and reading continues.
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
from collections.abc import Iterator
from typing import Any, NamedTuple

import tqdm

from granary.loader.landing import LandingFile
from granary.project import GranaryError
from granary.text import counted

BLOCK = 1 << 16  # bytes: larger ones make COPY wait
LIMIT = 8 << 20  # bytes: a longer line, record or JSON element is rejected, so that memory stays bounded
DEEPEST = 1000  # levels of nested JSON: PostgreSQL's stack is limited
PROGRESS_FROM = 16 << 20  # bytes: smaller files are loaded before anyone could read a progress bar
QUOTED_FIELD = re.compile(rb'"(?<![^,\n]")[^"]*(?:""[^"]*)*"(?![^,\r\n])')  # looking back last is faster

csv.field_size_limit(LIMIT)


class Problem(NamedTuple):
    """Why a line can't be a row: a code, and a sentence for people."""

    reason: str
    explanation: str


class Record(NamedTuple):
    """A record of CSV, a line, or an element of a JSON array. Only CSV has fields."""

    number: int  # of its first line
    text: bytes
    fields: list[str]
    problem: Problem | None


class Line(NamedTuple):
    """What is staged of a record: its values as a JSON object or, with a reason, its text."""

    number: int
    text: str
    reason: str | None = None
    explanation: str | None = None


class ProblemError(csv.Error):
    """Ends the parsing of a record that has a problem, which is its argument."""


BLANK = Problem("blank", "the line is blank")
UNCLOSED_QUOTE = Problem("unclosed_quote", "a quote is opened but never closed")
MISPLACED_QUOTE = Problem("misplaced_quote", "a closing quote is followed by something other than a comma")
CARRIAGE_RETURN = Problem("carriage_return", "a carriage return is in the middle of the line")
NUL_CHARACTER = Problem("nul_character", "the line contains a NUL character")
TOO_DEEP = Problem("too_deep", f"the JSON is nested more than {DEEPEST:,} levels deep")


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
        """Read as FileIO does; hash and count the bytes."""
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
    """Yield the file and a stream of its decompressed bytes, which begins after a byte order mark."""
    with Source(file) as source, source.bar:
        stream = io.BufferedReader(source, BLOCK)
        if file.path.suffix.lower() == ".gz":
            stream = io.BufferedReader(gzip.GzipFile(fileobj=stream), BLOCK)
        if stream.peek(3).startswith(codecs.BOM_UTF8):
            stream.read(3)
        yield source, stream


def sha256(file: LandingFile) -> str:
    """Return the SHA-256 of a file as it was delivered."""
    with Source(file) as source, source.bar:
        return source.digest()


# -- CSV in blocks -----------------------------------------------------------------------------------------------------


def read_header(file: LandingFile, stream: io.BufferedReader) -> tuple[list[str], int]:
    """Return the names in a CSV header and how many physical lines it takes; leave the stream at the next line."""
    empty = Record(1, b"", [], Problem("blank", "the file is empty"))
    _, text, names, problem = next(csv_lines(stream), empty)
    if problem := problem or problem_of(text):
        raise GranaryError(f"{file.relative}, line 1: not a valid header: {problem.explanation} (it names the columns)")
    return names, text.rstrip(b"\r\n").count(b"\n") + 1


def plain_blocks(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield CSV in blocks of whole lines; raise csv.Error where PostgreSQL might not read them as csv_lines would."""
    while block := stream.read(BLOCK):
        if not block.endswith(b"\n"):
            block += stream.readline(LIMIT)
        if not is_plain(block):
            raise csv.Error("a quote or a carriage return is in an unusual place")
        yield block


def is_plain(block: bytes) -> bool:
    """Return whether every quote belongs to a well-formed quoted field, and every carriage return to a line's end.

    PostgreSQL drops a stray quote in silence: 12" by 13" becomes 12 by 13.
    """
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return False
    return b'"' not in QUOTED_FIELD.sub(b"", block)


# -- Line by line ------------------------------------------------------------------------------------------------------


def read_lines(file: LandingFile, stream: io.BufferedReader) -> Iterator[Line]:
    """Yield the lines to stage. Records of CSV become JSON objects; JSON is passed on as delivered.

    Elements of a JSON array that share a line are numbered consecutively from there.
    """
    number, names = 0, []
    if file.format == ".csv":
        names, header_lines = read_header(file, stream)
        records = csv_lines(stream, len(names), header_lines + 1)
    elif file.format == ".json":
        records = array_elements(file, stream)
    else:
        lines = enumerate(iter(lambda: physical_line(stream), b""), start=1)
        records = (Record(line, text, [], None) for line, text in lines)
    for line, delivered, fields, problem in records:
        number, text = max(line, number + 1), delivered.rstrip(b"\r\n")
        if problem := problem or problem_of(text) or (None if names else problem_of_json(text)):
            yield Line(number, text.decode("utf-8", "backslashreplace").replace("\0", "\\x00"), *problem)
        else:
            yield Line(number, json.dumps(dict(zip(names, fields, strict=True))) if names else text.decode())


def problem_of(text: bytes) -> Problem | None:
    """Return why text can't be a row, whatever its format, or None."""
    if len(text) > LIMIT:
        return too_long()
    if b"\0" in text:
        return NUL_CHARACTER
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return Problem("not_utf8", f"byte {error.start + 1} of the line, 0x{text[error.start]:02x}, is not UTF-8")
    return None


def problem_of_json(text: bytes) -> Problem | None:
    """Return whether JSON is nested too deeply. PostgreSQL finds everything else that may be wrong with it."""
    if text.count(b"[") + text.count(b"{") > DEEPEST:
        brackets = re.sub(rb'"(?:[^"\\]|\\.)*"|[^][{}]', b"", text)
        depths = itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
        if max(depths, default=0) > DEEPEST:
            return TOO_DEEP
    return None


def too_long() -> Problem:
    """Return the problem of a line or record that is over LIMIT."""
    return Problem("too_long", f"longer than {LIMIT:,} bytes")


def physical_line(stream: io.BufferedReader) -> bytes:
    """Return the next line with its line end. Of one that is over LIMIT, return only enough to see that it is."""
    line = rest = stream.readline(LIMIT + 2)
    while len(rest) > LIMIT + 1 and not rest.endswith(b"\n"):
        rest = stream.readline(LIMIT + 2)
    return line


def csv_lines(stream: io.BufferedReader, width: int | None = None, number: int = 1) -> Iterator[Record]:
    """Yield the records of CSV; each should have `width` fields (None: any). The first line has this number.

    A malformed record costs its first physical line only, so that one stray quote doesn't swallow the file. A quote
    inside an unquoted field is part of its value.

    Invariant: whenever the loop begins, `taken` is empty, and the records yielded so far, then `held`, then the rest of
    the stream are the whole input, each line once and in order. `take` only moves a line from the front of `held`, or
    where that is empty from the stream, to the end of `taken`. A malformed record returns all it took but the first
    line to the front of `held`, in their order. What remains in `taken`, at least one line, is yielded. So no line is
    lost or doubled, the line number is exact, and the loop ends: only where `held` and the stream are both empty.
    """
    held: collections.deque[bytes] = collections.deque()  # lines to be read again
    taken: list[bytes] = []  # lines of the current record

    def take() -> Iterator[str]:
        size = commas = 0
        # A record that has too many fields already need not be read further: its quote is a stray one.
        while commas < (width or 1600) and (line := held.popleft() if held else physical_line(stream)):
            commas += b"".join(line.split(b'"')[1::2]).count(b",") if taken else 0
            size += len(line)
            taken.append(line)
            if size > LIMIT:
                raise ProblemError(too_long())
            yield line.decode("utf-8", "replace").replace("\0", "\ufffd")  # see problem_of, once the record is known
        if taken:
            raise ProblemError(UNCLOSED_QUOTE)

    while True:
        try:
            fields, problem = next(csv.reader(take(), strict=True), None), None
            if fields is None:
                return
            if not fields:
                problem = BLANK
            elif width and len(fields) != width:
                problem = Problem("ragged", f"the line has {counted(len(fields), 'field')}, the header has {width:,}")
        except csv.Error as error:
            held.extendleft(taken[:0:-1])
            del taken[1:]
            quote = MISPLACED_QUOTE if "expected after" in str(error) else CARRIAGE_RETURN  # csv's only other errors
            fields, problem = [], error.args[0] if isinstance(error, ProblemError) else quote
        yield Record(number, b"".join(taken), fields, problem)
        number += len(taken)
        taken.clear()


def array_elements(file: LandingFile, stream: io.BufferedReader) -> Iterator[Record]:
    """Yield the elements of a JSON array, as delivered.

    Raises GranaryError where the array is cut off or isn't JSON: what follows can't be trusted.
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
            yield Record(first, buffer[start:end].encode("utf-8", "surrogateescape"), [], None)
            at, line = end, first + buffer.count("\n", start, end)
        elif end - at < LIMIT and (more := text.read(max(BLOCK, end - at))):  # doubling: it may be looked at again
            buffer, at = buffer[at:] + more, 0
        elif buffer[start:].strip() == "]":
            text.detach()  # or it would close the stream
            return
        else:
            raise GranaryError(f"{file.relative}, line {first}: the JSON array is damaged or cut off: deliver it again")
