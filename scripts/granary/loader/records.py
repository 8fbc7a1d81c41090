"""What CSV and JSON have in common: records, the problems for which one is rejected, and the limits."""

from __future__ import annotations

import io
from typing import NamedTuple

BLOCK = 1 << 16  # bytes: larger ones make COPY wait
LIMIT = 8 << 20  # bytes: a longer line, record or JSON element is rejected, so that memory stays bounded


class Problem(NamedTuple):
    """Why a line can't be a row: a code, and a sentence for people."""

    reason: str
    explanation: str


class Record(NamedTuple):
    """A record of CSV, a line, or an element of a JSON array. Only CSV has fields, and only if it can be read."""

    number: int  # of its first line
    text: bytes
    fields: list[str]
    problem: Problem | None


class PlainLines(NamedTuple):
    """Lines each of which is a row as PostgreSQL reads it."""

    number: int  # of the first line
    text: bytes


NUL_CHARACTER = Problem("nul_character", "the line contains a NUL character")


def too_long() -> Problem:
    """Return the problem of a line, record or element that is over LIMIT."""
    return Problem("too_long", f"longer than {LIMIT:,} bytes")


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


def physical_line(stream: io.BufferedReader) -> bytes:
    """Return the next line with its line end. Of one that is over LIMIT, return only enough to see that it is."""
    line = rest = stream.readline(LIMIT + 2)
    while len(rest) > LIMIT + 1 and not rest.endswith(b"\n"):
        rest = stream.readline(LIMIT + 2)
    return line


def block(stream: io.BufferedReader) -> bytes:
    """Return the next lines, all together, up to the one with which they are a BLOCK; return nothing at the end."""
    text = stream.read(BLOCK)
    return text if text.endswith(b"\n") else text + physical_line(stream)
