"""CSV: the header, lines that PostgreSQL can be trusted to read, and all other records one by one.

Where the fields of a line end is never a guess. A quote inside an unquoted field is part of its value, unless the line
can be read in another way as well: then the line is rejected.
"""

from __future__ import annotations

import codecs
import collections
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from granary.loader import records
from granary.loader.landing import LandingFile
from granary.loader.records import PlainLines, Problem, Record
from granary.project import GranaryError
from granary.text import MOST_COLUMNS, counted

QUOTED_FIELD = re.compile(rb'"(?<![^,\n]")[^"]*(?:""[^"]*)*"(?![^,\r\n])')  # looking back last is faster
FIELD = re.compile(rb'(?:^|,)( *"[^"]*(?:""[^"]*)*"(?=,|\Z)|[^,]*)')
NEITHER_COMMA_NOR_LINE_END = bytes(set(range(256)) - set(b",\n"))
NO_LAYOUT = bytes(set(range(256)) - set(b'",\n'))
LAYOUT = re.compile(rb'(?:(?:"")?,)*(?:"")?\n')  # of a line, without what is between: a field has two quotes or none
NO_QUOTE = b"\x01"  # stands for quotes where a file has none: no text has this character
SEPARATOR_LINE = re.compile(rb'"?sep=([\t !#-~])"?\r?\n', re.IGNORECASE)  # tells Excel the delimiter
ENDS_WITH_SEPARATOR = re.compile(rb'[,\r\n] *"+\Z')

BLANK = Problem("blank", "the line is blank")
COMMENT = Problem("comment", "the line is a comment")
UNCLOSED_QUOTE = Problem("unclosed_quote", "a quote is opened but never closed")
MISPLACED_QUOTE = Problem("misplaced_quote", "a closing quote is followed by something other than a separator")
CARRIAGE_RETURN = Problem("carriage_return", "a carriage return is in the middle of the line")
REPEATED_HEADER = Problem("repeated_header", "the line is the header again")
SPACE_BEFORE_QUOTE = Problem(
    "space_before_quote",
    "a field begins with a space and a quote: if such spaces mean nothing, declare `format: {skip_initial_space: true}`"
    " in the meta of the source's table",
)
STRAY_QUOTE = Problem("stray_quote", "quotes inside unquoted fields leave open where the fields end")
STRAY_END = Problem("stray_quote", "a quote may end a field that began on the rejected line before")
SURE = (None, BLANK, COMMENT, REPEATED_HEADER, STRAY_END)  # after these, no field can have begun on the line before

csv.field_size_limit(records.LIMIT)


class ProblemError(csv.Error):
    """Ends the parsing of a record that has a problem, which is its argument."""


class Dialect(NamedTuple):
    """How the lines of a file are to be read. The quote is NO_QUOTE if there is none."""

    delimiter: bytes = b","
    quote: bytes = b'"'
    comment: bytes = b""  # what begins a line that isn't to be read
    skip_initial_space: bool = False

    @property
    def swap(self) -> bytes | None:
        """Return the table that makes the delimiter a comma and the quote '"', and those the others; None for CSV."""
        if self[:2] == (b",", b'"'):
            return None
        table = bytearray(range(256))
        for one, two in ((self.delimiter, b","), (self.quote, b'"')):
            table[one[0]], table[two[0]] = table[two[0]], table[one[0]]
        return bytes(table)


CSV = Dialect()


class Header(NamedTuple):
    """The names of the columns, how many physical lines there are before the rows, and how these are to be read."""

    names: list[str]
    lines: int
    dialect: Dialect = CSV


def dialect_of(file: LandingFile) -> Dialect:
    """Return how a file is declared to be read. The delimiter of .tsv is a tab."""
    declared = file.entity.format
    delimiter, quote = declared.get("delimiter") or ("\t" if file.format == ".tsv" else ","), declared.get("quote")
    return Dialect(
        delimiter.encode(),
        NO_QUOTE if quote == "none" else (quote or '"').encode(),
        (declared.get("comment") or "").encode(),
        bool(declared.get("skip_initial_space")),
    )


def read_header(file: LandingFile, stream: io.BufferedReader) -> Header:
    """Return the header; leave the stream at the first row."""
    dialect, declared = dialect_of(file), file.entity.format
    lines = sum(bool(records.physical_line(stream)) for _ in range(declared.get("skip_lines") or 0))
    if named := SEPARATOR_LINE.match(stream.peek(10)):
        stream.read(named.end())
        dialect, lines = dialect._replace(delimiter=named[1]), lines + 1
    if names := declared.get("header"):
        return Header(names, lines, dialect)
    reader = CsvReader(stream, number=lines + 1, dialect=dialect)
    empty = Record(
        lines + 1, b"", [], Problem("blank", "the file is empty" if not lines else "the file has no more lines")
    )
    record = reader.record() or empty
    while record.problem is COMMENT:
        record = reader.record() or empty
    number, text, names, problem = record
    if problem := records.problem_of(text) or problem:
        hint = ": if it is UTF-16, save it as UTF-8" if problem is records.NUL_CHARACTER else " (it names the columns)"
        raise GranaryError(f"{file.relative}, line {number}: not a valid header: {problem.explanation}{hint}")
    return Header(names, reader.number - 1, dialect)


class CsvReader:
    """The records of CSV; each should have a field for each of the names (none: any number).

    The first line has this number. A malformed record costs its first physical line only, so that one stray quote
    doesn't swallow the file.

    Invariant: before and after each method, the records returned so far, then `held`, then the rest of the stream are
    the whole input, each line once and in order, and `number` is that of the next line. `lines_of_record` only moves a
    line from the front of `held`, or where that is empty from the stream, to the end of `taken`. A malformed record
    returns all it took but the first line to the front of `held`, in their order. What remains in `taken`, at least one
    line, is returned. So no line is lost or doubled, the line number is exact, and reading ends: only where `held` and
    the stream are both empty.
    """

    def __init__(
        self, stream: io.BufferedReader, names: Sequence[str] = (), number: int = 1, dialect: Dialect = CSV
    ) -> None:
        self.stream, self.names, self.number, self.dialect = stream, names, number, dialect
        self.swap, self.comment = dialect.swap, dialect.comment
        self.header = header_pattern(names, dialect)
        longest = max((name for name in names if '"' not in name), key=len, default="")
        self.may_be_header = longest.encode().lower()  # what a repeated header contains, which is found faster
        self.held: collections.deque[bytes] = collections.deque()  # lines that have been read, but belong to no record
        self.problem: Problem | None = None  # of the last record
        self.tried = 1  # lines that may be plain, all together
        self.settings = {
            "delimiter": dialect.delimiter.decode(),
            "quotechar": dialect.quote.decode(),
            "skipinitialspace": dialect.skip_initial_space,
            "strict": True,
        }

    def parts(self) -> Iterator[PlainLines | Record]:
        """Yield everything: as many plain lines as possible at once, and each other record by itself."""
        while True:
            if text := self.plain_lines():
                lines = PlainLines(self.number, text)
                self.number += text.count(b"\n") + (not text.endswith(b"\n"))
                self.problem = None
                yield lines
            elif record := self.record():
                yield record
            else:
                return

    def plain_lines(self) -> bytes:
        """Take plain lines: a whole block, or some from the front of what is held. Return none if the next isn't plain.

        Where one isn't, the lines after it are tried one by one, then two, four and so on at once.
        """
        if not self.held:
            block = records.block(self.stream)
            if self.are_plain(block):
                return block
            self.held.extend(io.BytesIO(block))
        size = min(self.tried, len(self.held))
        while size and not self.are_plain(text := b"".join(itertools.islice(self.held, size))):
            size //= 2
        for _ in range(size):
            self.held.popleft()
        self.tried = max(1, 2 * size)
        return text if size else b""

    def are_plain(self, text: bytes) -> bool:
        """Return whether each of these lines is a row that PostgreSQL reads as `record` does.

        PostgreSQL drops a stray quote in silence: 12" by 13" becomes 12 by 13. It also knows no repeated header, and
        skips no initial spaces.
        """
        if self.dialect.skip_initial_space or records.problem_of(text):
            return False
        if not text.isascii() and codecs.BOM_UTF8 in text:
            return False
        if self.may_be_header in text.lower() and self.header.search(b"\n" + text):
            return False
        if self.comment and (text.startswith(self.comment) or b"\n" + self.comment in text):
            return False
        text = text.translate(self.swap) if self.swap else text
        if b'"' in text and len(self.names) > 1 and are_alike(text, len(self.names)):
            return True
        unquoted = bare(text)
        if unquoted is None or unquoted.count(b"\n") != text.count(b"\n"):
            return False
        if len(self.names) == 1 and not all(map(bytes.strip, unquoted.removesuffix(b"\n").split(b"\n"))):
            return False  # a blank line isn't the value ''
        end = b"" if text.endswith(b"\n") else b"\n"
        commas = unquoted.translate(None, delete=NEITHER_COMMA_NOR_LINE_END) + end
        return commas == (b"," * (len(self.names) - 1) + b"\n") * commas.count(b"\n")

    def record(self) -> Record | None:
        """Take the next record; return None at the end."""
        taken: list[bytes] = []
        skip, may_continue = self.dialect.skip_initial_space, self.problem not in SURE
        try:
            fields = next(csv.reader(self.lines_of_record(taken), **self.settings), None)
            if fields is None:
                return None
            text = b"".join(taken).removeprefix(codecs.BOM_UTF8)
            text = text.translate(self.swap) if self.swap else text
            problem = problem_of_fields(fields, self.names)
            if b'"' in text and problem is not REPEATED_HEADER and bare(text) is None:
                problem = problem_of_quotes(text, problem, skip, may_continue)
        except csv.Error as error:
            self.held.extendleft(taken[:0:-1])
            del taken[1:]
            quote = MISPLACED_QUOTE if "expected after" in str(error) else CARRIAGE_RETURN  # csv's only other errors
            fields, problem = [], error.args[0] if isinstance(error, ProblemError) else quote
        number, self.number, self.problem = self.number, self.number + len(taken), problem
        return Record(number, b"".join(taken), fields, problem)

    def lines_of_record(self, taken: list[bytes]) -> Iterator[str]:
        """Take line after line, as long as the record may go on; yield each as csv.reader needs it."""
        size = separators = 0
        # A record that has too many fields already need not be read further: its quote is a stray one.
        while separators < (len(self.names) or MOST_COLUMNS) and (
            line := self.held.popleft() if self.held else records.physical_line(self.stream)
        ):
            outside = b"".join(line.split(self.dialect.quote)[1::2]) if taken else b""
            separators += outside.count(self.dialect.delimiter)
            size += len(line)
            taken.append(line)
            if self.comment and len(taken) == 1 and line.startswith(self.comment):
                raise ProblemError(COMMENT)
            if size > records.LIMIT:
                raise ProblemError(records.too_long())
            line = line.removeprefix(codecs.BOM_UTF8) if len(taken) == 1 else line  # files that were joined
            yield line.decode("utf-8", "replace").replace("\0", "\ufffd")  # see problem_of, once the record is known
        if taken:
            raise ProblemError(UNCLOSED_QUOTE)


def are_alike(text: bytes, field_count: int) -> bool:
    """Return whether all lines have so many fields, and quotes around the same ones, with nothing in need of them.

    That the quotes are at both ends of their fields is seen by counting: where each line has the same layout, a quote
    after a separator opens a field, and one before a separator closes it.
    """
    if b"\r" in text or not text.endswith(b"\n"):
        return False
    layout = text.translate(None, delete=NO_LAYOUT)
    line, lines = layout[: layout.find(b"\n") + 1], text.count(b"\n")
    if line.count(b",") != field_count - 1 or not LAYOUT.fullmatch(line) or layout != line * lines:
        return False
    quoted = line.count(b'"') // 2 * lines
    text = b"\n" + text
    opened, closed = text.count(b',"') + text.count(b'\n"'), text.count(b'",') + text.count(b'"\n')
    return quoted == opened == closed


def bare(text: bytes) -> bytes | None:
    """Return text without its quoted fields; None if it has other quotes, or carriage returns but at a line's end."""
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        return None
    unquoted = QUOTED_FIELD.sub(b"", text) if b'"' in text else text
    return None if b'"' in unquoted else unquoted


def header_pattern(names: Sequence[str], dialect: Dialect) -> re.Pattern[bytes]:
    """Return a pattern for a line, after a line end, that is the header: quoted or not, in any case and spacing."""
    quote, delimiter = dialect.quote.decode(), re.escape(dialect.delimiter.decode())
    quoted = [quote + name.replace(quote, quote * 2) + quote for name in names]
    either = (" *(?:{}|{}) *".format(*map(re.escape, names)) for names in zip(names, quoted, strict=True))
    return re.compile(f"\n{delimiter.join(either)}(?![^\r\n])".encode(), re.IGNORECASE)


def folded(name: str) -> str:
    """Return a name as it is compared with the header."""
    return name.strip(" ").casefold()


def problem_of_fields(fields: list[str], names: Sequence[str]) -> Problem | None:
    """Return why fields can't be a row, or None."""
    if not fields:
        return BLANK
    # A single value may happen to be the name of its column in another case.
    if fields == names or (len(names) > 1 and [*map(folded, fields)] == [*map(folded, names)]):
        return REPEATED_HEADER
    return problem_of_count(len(fields), len(names)) if names else None


def problem_of_count(fields: int, names: int) -> Problem | None:
    """Return the problem that a row has another number of fields than the header, or None."""
    if fields == names:
        return None
    return Problem("ragged", f"the line has {counted(fields, 'field')}, the header has {names:,}")


def problem_of_quotes(
    text: bytes, other: Problem | None, skip_initial_space: bool, may_continue: bool
) -> Problem | None:
    """Return whether quotes in unquoted fields of a record leave open where its fields end, else its other problem.

    Most often, one character has been lost or added. Without a comma, red,"soft, warm" has as many fields as before. A
    lone quote that isn't at the end of its field, as in 6" wide, can't close a quoted field. One at the end can, if a
    field may have begun on the line before (`may_continue`), or if a quoted field before it ends with a comma: the last
    quote of that field may be the one that opens the next.
    """
    fields = [field.lstrip(b" ") if skip_initial_space else field for field in FIELD.findall(text.rstrip(b"\r\n"))]
    odd = [number for number, field in enumerate(fields) if b'"' in field and not field.startswith(b'"')]
    if any(fields[number].lstrip(b" \t").startswith(b'"') for number in odd):
        return SPACE_BEFORE_QUOTE
    if other or not odd:
        return other
    if len(odd) > 1:
        return STRAY_QUOTE
    if fields[odd[0]].endswith(b'"'):
        if any(ENDS_WITH_SEPARATOR.search(field) for field in fields[: odd[0]] if field.startswith(b'"')):
            return STRAY_QUOTE
        return STRAY_END if may_continue else None
    return None
