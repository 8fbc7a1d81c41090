"""JSON: lines, and the elements of an array, each as it was delivered."""

from __future__ import annotations

import codecs
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from granary.loader import records
from granary.loader.landing import LandingFile
from granary.loader.records import PlainLines, Problem, Record
from granary.project import GranaryError

DEEPEST = 1000  # levels of nested JSON: PostgreSQL's stack is limited
TOO_DEEP = Problem("too_deep", f"the JSON is nested more than {DEEPEST:,} levels deep")
DAMAGED = "the JSON is damaged or cut off: deliver it again"
EMPTY = "the file is empty: an array without rows is []"
NO_BEGINNING = "the JSON array has no beginning: deliver it again, whole"
ONE_OBJECT = (
    "this is one JSON object, not an array of rows: if it has a key with the array, declare it in the meta of the"
    " source's table (`records: data`); if it is a row, put it into an array"
)
SEVERAL_OBJECTS = "these are several JSON objects, not an array of rows: put each on one line, and name the file .jsonl"
WHITE_SPACE = re.compile(r"[ \t\r\n]*")
CONSTANTS = {None: None, True: "true", False: "false"}
LONGEST_PLAIN = 10_000  # characters: a longer number may be too big for PostgreSQL
MOST_KEYS = 1_000  # of one JSON object
UNUSUAL_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # a NUL character, or half of a surrogate pair
# A value as COPY reads it, but null, which is nothing there. A number of more digits may be too big for PostgreSQL.
PLAIN_VALUE = r'(?:null|("[^"\\\x00-\x1f]*"|true|false|-?(?:0|[1-9][0-9]{0,99})(?:[.][0-9]{1,100})?))'
STRUCTURE = re.compile(r'\\.|["\][{}]', re.DOTALL)


def json_lines(stream: io.BufferedReader, plain_rows: Callable[[bytes], bytes]) -> Iterator[Record | PlainLines]:
    """Yield the lines of a .jsonl file: a block of them at once where `plain_rows` returns their CSV."""
    number = 1
    while block := records.block(stream):
        if text := plain_rows(block):
            yield PlainLines(number, text)
            number += text.count(b"\n")
            continue
        for line in io.BytesIO(block):
            yield Record(number, line.removeprefix(codecs.BOM_UTF8), [], None)  # files that were joined
            number += 1


def plain_objects(keys: Sequence[str]) -> re.Pattern[bytes]:
    """Return a pattern for a line that is an object of these keys, in their order, with a plain value for each."""
    space = "[ \t]*"
    pairs = (
        rf"{space}{re.escape(json.dumps(key, ensure_ascii=False))}{space}:{space}{PLAIN_VALUE}{space}" for key in keys
    )
    return re.compile(rf"^{space}{{{','.join(pairs)}}}{space}\r?$".encode(), re.MULTILINE)


def plain_lines(text: bytes, pattern: re.Pattern[bytes]) -> bytes:
    """Return lines that are plain objects as lines of CSV in which null, unlike '', has no quotes; else nothing."""
    if records.problem_of(text):
        return b""
    found = pattern.findall(text)
    if len(found) != text.count(b"\n") + (not text.endswith(b"\n")):
        return b""
    return b"\n".join(map(b",".join, found if pattern.groups > 1 else zip(found))) + b"\n"


def json_records(
    file: LandingFile, stream: io.BufferedReader, plain_rows: Callable[[bytes], bytes] = lambda _: b""
) -> Iterator[Record | PlainLines]:
    """Yield the records of a .json file: the elements of its array, or its lines if it is JSON lines.

    Raises GranaryError if it is neither, or damaged: what follows can't be trusted.
    """
    path = file.entity.records
    start = stream.peek(records.BLOCK).lstrip()
    if not path and start.startswith(b"{") and are_lines(start):
        yield from json_lines(stream, plain_rows)
        return
    text = JsonText(file, stream)
    if text.next() == "{" and not path:
        text.refuse_object()
    yield from text.elements(path.split(".") if text.next() == "{" else [])
    text.finish()


def are_lines(start: bytes) -> bool:
    """Return whether the first line is a JSON object, and the next begins like one."""
    first, _, rest = start.partition(b"\n")
    try:
        return rest.lstrip().startswith(b"{") and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def plain_values(line: bytes) -> tuple[tuple[str, ...], list[str | None]] | None:
    """Return the keys of a JSON object, and their values as PostgreSQL's `->>` returns them.

    Return None if this is no object, or one about which Python and PostgreSQL might disagree.
    """
    try:
        text = line.decode().strip(" \t\r\n")
        if len(text) > LONGEST_PLAIN or UNUSUAL_ESCAPE.search(text):
            return None
        pairs, end = PLAIN.raw_decode(text)
        if type(pairs) is not tuple or end < len(text):
            return None
        keys, values = zip(*pairs, strict=True) if pairs else ((), ())
        if len(set(keys)) < len(keys) or len(keys) > MOST_KEYS:
            return None
        return keys, [value if type(value) is str else CONSTANTS[value] for value in values]
    except (ValueError, RecursionError, KeyError, TypeError):  # the last two: a nested value
        return None


def plain_number(text: str) -> str:
    """Return a number as delivered; raise ValueError if it may be too big for PostgreSQL, or is none."""
    if not text[-1].isdigit() or "e" in text or "E" in text:
        raise ValueError(text)
    return text


def problem_of_json(text: bytes) -> Problem | None:
    """Return whether JSON is nested too deeply. PostgreSQL finds everything else that may be wrong with it."""
    if text.count(b"[") + text.count(b"{") > DEEPEST:
        brackets = re.sub(rb'"(?:[^"\\]|\\.)*"|[^][{}]', b"", text)
        depths = itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
        if max(depths, default=0) > DEEPEST:
            return TOO_DEEP
    return None


PLAIN = json.JSONDecoder(object_pairs_hook=tuple, parse_int=str, parse_float=plain_number, parse_constant=plain_number)


class JsonText:
    """A text that is read value by value, of which only a few values are in memory at a time."""

    decoder = json.JSONDecoder(strict=False, parse_int=str)

    def __init__(self, file: LandingFile, stream: io.BufferedReader) -> None:
        self.file = file
        self.where = f"(`records: {file.entity.records}`)" if file.entity.records else ""
        self.text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="\n")
        self.buffer, self.at, self.line = "", 0, 1

    def elements(self, path: list[str]) -> Iterator[Record]:
        """Yield the elements of an array, or of the one to which a path of keys leads in an object."""
        opening, closing = "{}" if path else "[]"
        if not self.take(opening):
            self.refuse(
                EMPTY if not self.next() else f"found no {opening} {self.where}" if self.where else NO_BEGINNING
            )
        found, is_over = not path, self.take(closing)
        while not is_over:
            if not path:
                yield self.value()
            elif self.key() == path[0]:
                found = True
                yield from self.elements(path[1:])
            else:
                self.value()
            is_over = self.take(closing)
            if not is_over and not self.take(","):
                self.refuse()
        if not found:
            self.refuse(f"found no key {path[0]} {self.where}")

    def key(self) -> str:
        """Take a key with its colon; return the key."""
        text = self.value().text
        if not text.startswith(b'"') or not self.take(":"):
            self.refuse()
        return json.loads(text, strict=False)

    def value(self) -> Record:
        """Take the next value."""
        self.next()
        line = self.line
        while True:
            end = 0  # of a value that is incomplete, or isn't JSON
            try:
                end = self.decoder.raw_decode(self.buffer, self.at)[1]
            except json.JSONDecodeError:
                pass
            except RecursionError:
                return Record(line, self.skipped(), [], TOO_DEEP)
            size = len(self.buffer) - self.at
            if end and end < len(self.buffer) and self.buffer[end] in ",:]} \t\r\n":  # a number may go on
                return Record(line, self.taken(end), [], None)
            if size > records.LIMIT:
                if len(text := self.skipped()) <= records.LIMIT:
                    self.refuse()
                return Record(line, text, [], records.too_long())
            if not self.more(max(records.BLOCK, size)):  # doubling: the value is looked at again
                if not end:
                    self.refuse()
                return Record(line, self.taken(end), [], None)

    def skipped(self) -> bytes:
        """Take a value that can't be decoded; return its text, or a part of it that is over LIMIT."""
        text, depth, is_quoted = b"", 0, False
        if self.buffer[self.at] not in '"[{':
            self.refuse()
        while True:
            for token in STRUCTURE.finditer(self.buffer, self.at):
                if token[0] == '"':
                    is_quoted = not is_quoted
                elif not is_quoted:
                    depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
                if depth == 0 and not is_quoted:
                    return text + self.taken(token.end())
            text = (text + self.taken(len(self.buffer)))[: records.LIMIT + 1]
            if not self.more(records.BLOCK):
                self.refuse()

    def take(self, character: str) -> bool:
        """Return whether the next character is this one; take it if it is."""
        if self.next() != character:
            return False
        self.at += 1
        return True

    def next(self) -> str:
        """Return the next character that isn't white space, or "" at the end."""
        while True:
            self.taken(WHITE_SPACE.match(self.buffer, self.at).end())
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more(records.BLOCK):
                return ""

    def taken(self, end: int) -> bytes:
        """Take the text up to a position in the buffer, and return it."""
        text = self.buffer[self.at : end]
        self.line += text.count("\n")
        self.at = end
        return text.encode("utf-8", "surrogateescape")

    def more(self, size: int) -> bool:
        """Read on; return False at the end."""
        more = self.text.read(size)
        if (len(more) - len(more.rstrip("\\"))) % 2:
            more += self.text.read(1)  # an escape is never cut in two
        self.buffer, self.at = self.buffer[self.at :] + more, 0
        return bool(more)

    def refuse_object(self) -> NoReturn:
        """Refuse a file that begins with an object, which isn't followed by others on lines of their own."""
        line = self.line
        self.value()
        follows = self.next()
        self.refuse(NO_BEGINNING if follows in (",", "]") else SEVERAL_OBJECTS if follows else ONE_OBJECT, line)

    def finish(self) -> None:
        """Refuse the file unless this is its end; leave its stream open."""
        if self.next():
            self.refuse()
        self.text.detach()

    def refuse(self, why: str = DAMAGED, line: int = 0) -> NoReturn:
        """Refuse the file at a line (default: the current one)."""
        raise GranaryError(f"{self.file.relative}, line {line or self.line}: {why}")
