"""One damaged character never puts a value into another row or column: a property of the rows that CSV is read as.

A clean file loses a separator, a quote or a line end, has one of them doubled, or gets another one anywhere. Each row
that is still accepted is a row of the clean file, or differs from one only in the damaged field, or in the two fields
between which the damage is.

That holds for every file without line ends in its fields. In other files, no reader can keep it: without its first
quote, `1,"a<line end>b,c"` is the two lines `1,a` and `b,c"`, the same bytes as those of two rows of which the second
ends with the sign for inches. What can be promised there is tested as well: a wrong row is made of lines of a record
that has line ends in its fields.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from granary import declared
from granary.loader import csv_records, names, records
from granary.loader.landing import LandingFile
from granary.project import GranaryError

pytestmark = pytest.mark.fast

COLUMNS = ("aa", "bb", "cc", "dd")


class Row(NamedTuple):
    """A row of a clean file: its values, and where each of them, and all of them, begin and end in it."""

    values: list[str]
    spans: list[tuple[int, int]]

    @property
    def span(self) -> tuple[int, int]:
        """Return where the row begins and ends."""
        return self.spans[0][0], self.spans[-1][1]


class Damage(NamedTuple):
    """A clean file, its rows with the header, and the same file with one character dropped, doubled or inserted."""

    clean: str
    rows: list[Row]
    damaged: str
    place: int
    is_inserted: bool
    is_spaced: bool  # there are spaces after commas, as declared

    def touches(self, begin: int, end: int) -> bool:
        """Return whether the damage is in a field that begins and ends there, or beside it."""
        return begin <= self.place <= end if self.is_inserted else begin - 1 <= self.place <= end


def written(rows: list[list[str]], quoted: list[bool], line_end: str, ends: bool, gap: str) -> tuple[str, list[Row]]:
    """Return the text of a clean file, and its rows. A gap is part of the field that follows."""
    text, found, flags = "", [], iter(quoted * 99)
    for number, values in enumerate(rows):
        spans = []
        for value in values:
            needs_quotes = set(value) & set(',"\r\n') or (gap and value.startswith(gap)) or values == [""]
            is_quoted = next(flags) or needs_quotes
            field = '"{}"'.format(value.replace('"', '""')) if is_quoted else value
            field = gap + field if spans else field
            text += "," if spans else ""
            spans.append((len(text), len(text) + len(field)))
            text += field
        text += line_end if ends or number < len(rows) - 1 else ""
        found.append(Row(values, spans))
    return text, found


@st.composite
def damages(draw: st.DrawFn, alphabet: str) -> Damage:
    """Draw a clean file and its damage."""
    width = draw(st.integers(1, 4))
    values = st.lists(st.text(alphabet, max_size=5), min_size=width, max_size=width)
    rows = [list(COLUMNS[:width]), *draw(st.lists(values, min_size=1, max_size=3))]
    quoted = draw(st.lists(st.booleans(), min_size=1, max_size=9))
    is_spaced = draw(st.booleans())
    line_end, ends = draw(st.sampled_from(["\n", "\r\n"])), draw(st.booleans())
    clean, found = written(rows, quoted, line_end, ends, " " if is_spaced else "")
    places = [place for place, character in enumerate(clean) if character in ',"\r\n']
    if draw(st.booleans()) or not places:
        place = draw(st.integers(0, len(clean.rstrip("\r\n"))))  # behind the last line, a comma would be a new row
        damaged = clean[:place] + draw(st.sampled_from(',"\n\r')) + clean[place:]
        return Damage(clean, found, damaged, place, True, is_spaced)
    place = draw(st.sampled_from(places))
    left = draw(st.sampled_from(["", clean[place] * 2]))
    return Damage(clean, found, clean[:place] + left + clean[place + 1 :], place, False, is_spaced)


def accepted(text: str, damage: Damage) -> list[tuple[list[str], int, str]]:
    """Return the rows of a CSV file with the number of their first line and their text; none if the file is refused."""
    columns, meta = damage.rows[0].values, {"format": {"skip_initial_space": damage.is_spaced}}
    entity = declared.Entity("feed", "t", "feed__t", tuple(columns), Path(), meta)
    file = LandingFile(Path(), "initial/feed/t.csv", entity)
    stream = io.BufferedReader(io.BytesIO(text.encode()))
    try:
        header = csv_records.read_header(file, stream)
        found = names.columns_of(header.names, file.entity, file.relative)
    except GranaryError:
        return []
    reader = csv_records.CsvReader(stream, header.names, header.lines + 1, header.dialect)
    return [
        ([row.fields[found.index(column)] for column in columns], row.number, row.text.decode())
        for row in iter(reader.record, None)
        if not row.problem and not records.problem_of(row.text)
    ]


def is_right(values: list[str], damage: Damage) -> bool:
    """Return whether the values are those of a clean row, but for what the damage touches."""
    for row in damage.rows[1:]:
        untouched = [column for column, span in enumerate(row.spans) if not damage.touches(*span)]
        is_touched = len(untouched) < len(values)
        if values == row.values or (is_touched and all(values[column] == row.values[column] for column in untouched)):
            return True
    return False


@settings(max_examples=2000, deadline=None)
@given(damage=damages('x," '))
def test_an_accepted_row_of_a_damaged_file_is_right(damage: Damage):
    assert [values for values, *_ in accepted(damage.clean, damage)] == [row.values for row in damage.rows[1:]]
    for values, *_ in accepted(damage.damaged, damage):
        assert is_right(values, damage)


@settings(max_examples=500, deadline=None)
@given(damage=damages('x,"\n'))
def test_a_wrong_row_is_made_of_lines_of_a_record_with_line_ends(damage: Damage):
    shift = len(damage.damaged) - len(damage.clean)
    moved = [
        [place + shift * (place > damage.place) for place in row.span]
        for row in damage.rows
        if any("\n" in value for value in row.values)
    ]
    for values, number, text in accepted(damage.damaged, damage):
        begin = sum(len(line) + 1 for line in damage.damaged.split("\n")[: number - 1])
        overlaps = any(first <= begin + len(text) and begin <= last + 2 for first, last in moved)
        assert overlaps or is_right(values, damage)
