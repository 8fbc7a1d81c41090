"""What the tests of the sample data share: how files are read, and what staging promises to take.

The rules are restated here on purpose: a planted row is only explained if they agree with what becomes of it.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT
from generate_data import FEEDS, landing_path, main, planted_rows
from granary.text import snake_case
from sample_data.feed import Dialect

DATA = ROOT / "data"
# (line number, row) of each line, by entity and batch, in the order of loading
Deliveries = dict[tuple[str, str], list]

SENTINELS = {"", "N/A", "NULL", "None", "null", "-"}
AMOUNT = re.compile(r"[+-]?\$?[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d{1,2})?|\$?\(\$?(\d+|\d{1,3}(,\d{3})+)(\.\d{1,2})?\)")
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)([T ]([01]\d|2[0-3]):\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def generate(out: Path, feed: str, *arguments: str) -> Path:
    assert main(["--feed", feed, "--out", str(out), *arguments]) == 0
    return out


def contents(root: Path, feed: str) -> dict[str, bytes]:
    """Every file of a feed below a data root, by its path there."""
    paths = [path for part in ("initial", "incremental") for path in (root / part / feed).rglob("*")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def read_lines(root: Path, path: str) -> list[tuple[int, dict | None]]:
    """(line number, row) of each line below a header; None for a line that can't be a row."""
    _, feed, entity = Path(path).parts[:3]
    delimiter, encoding = FEEDS[feed].dialects.get(entity.partition(".")[0], Dialect(",", "utf-8-sig"))
    data = (root / path).read_bytes()
    if path.endswith(".gz"):
        data = gzip.decompress(data)
    lines = data.decode(encoding).splitlines()
    if ".json" in path:
        return [(number, json_row(line)) for number, line in enumerate(lines, 1) if line not in "[]"]
    header = next(csv.reader(lines[:1], delimiter=delimiter))
    return [(number, csv_row(header, line, delimiter)) for number, line in enumerate(lines[1:], 2)]


def json_row(line: str) -> dict | None:
    with contextlib.suppress(json.JSONDecodeError):
        return {name: "" if value is None else str(value) for name, value in json.loads(line.rstrip(",")).items()}
    return None


def csv_row(header: list[str], line: str, delimiter: str) -> dict | None:
    with contextlib.suppress(csv.Error):
        values = next(csv.reader([line], delimiter=delimiter, strict=True))
        return dict(zip(header, values, strict=True)) if len(values) == len(header) else None
    return None


def read_feed(root: Path, feed: str) -> Deliveries:
    return {
        (entity, batch): read_lines(root, landing_path(feed, entity, batch, extension))
        for entity, batch, extension, _ in FEEDS[feed].files
    }


def column(deliveries: Deliveries, entity: str, name: str) -> list[str]:
    """One column of an entity over all batches, trimmed."""
    return [row[name].strip() for key, rows in deliveries.items() if key[0] == entity for _, row in rows if row]


def amount(text: str) -> Decimal:
    return (-1 if re.search("[(-]", text) else 1) * Decimal(re.sub("[^0-9.]", "", text))


def label(text: str) -> str:
    return re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")


def is_day(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc))
    return False


def is_date(text: str) -> bool:
    return len(text) == 10 and is_day(text)


def is_time(text: str) -> bool:
    return bool(TIMESTAMP.fullmatch(text)) and is_day(text[:10])


class Rules(NamedTuple):
    """What staging promises of a feed."""

    feed: str
    required: dict[str, set[str]]  # columns, by entity
    is_sound: Callable[[str, dict[str, str]], bool]  # whether a value, which is not empty, is; with all of its row
    defaults: dict[str, str]

    def judge(self, entity: str, row: dict[str, str] | None) -> str:
        """What the warehouse must make of a row, in the words of the planted table."""
        if row is None:
            return "line"
        values = {name: "" if text.strip() in SENTINELS else text.strip() for name, text in row.items()}
        values |= {name: text for name, text in self.defaults.items() if values.get(name) == ""}
        columns, required = FEEDS[self.feed].columns[entity], self.required[entity]
        unsound = [name for name in columns if values[name] and not self.is_sound(name, values)]
        if rejected := [name for name in columns if name in required and (name in unsound or not values[name])]:
            return f"row {', '.join(rejected)}"
        return f"value {', '.join(unsound)}" if unsound else "kept"

    def sound_rows(self, deliveries: Deliveries, entity: str) -> list[dict[str, str]]:
        """The rows that the warehouse uses, in the order of loading, trimmed."""
        return [
            {name: text.strip() for name, text in row.items()}
            for (of, _), rows in deliveries.items()
            for _, row in rows
            if of == entity and self.judge(entity, row).startswith(("kept", "value"))
        ]

    def check_planted(self, deliveries: Deliveries, *, lines: int, kinds: set[str]) -> None:
        """Exactly the planted rows are rejected, as planted.csv says, and among them are all of these kinds."""
        with (DATA / "planted.csv").open(newline="", encoding="utf-8") as file:
            table = [row for row in csv.DictReader(file) if row["file"].split("/")[1] == self.feed]
        told: dict[tuple[str, int], list[str]] = {}
        for row in table:
            if row["outcome"] != "kept":
                columns = told.setdefault((row["file"], int(row["line"])), [row["outcome"].removesuffix(" rejected")])
                columns += [row["column"]] if row["column"] else []
        extensions = {(entity, batch): extension for entity, batch, extension, _ in FEEDS[self.feed].files}
        found = {
            (landing_path(self.feed, *key, extensions[key]), number): snake_case_fate(fate)
            for key, rows in deliveries.items()
            for number, row in rows
            if (fate := self.judge(key[0], row)) != "kept"
        }
        assert found == told
        fates = Counter(row.fate for row in planted_rows(self.feed))
        assert kinds <= set(fates)
        assert fates["line"] == lines

    def required_kinds(self) -> set[str]:
        """A rejected row for each required column."""
        return {f"row {name}" for names in self.required.values() for name in names}

    def check_spoiled(self, out: Path, entity: str, fates: list[str], scale: str = "40") -> None:
        """Above scale 1, some regular rows are spoiled in these ways, but fewer than one in a hundred."""
        deliveries = read_feed(generate(out, self.feed, "--scale", scale), self.feed)
        planted = Counter(row.fate for row in planted_rows(self.feed) if row.entity == entity)
        rows = [row for key, rows in deliveries.items() if key[0] == entity for _, row in rows]
        seen = Counter(self.judge(entity, row) for row in rows)
        assert all(seen[fate] > planted[fate] for fate in fates)
        assert len(rows) - len({str(row) for row in rows}) > 2
        assert len(rows) - seen["kept"] < 0.01 * len(rows)


def snake_case_fate(fate: str) -> list[str]:
    kind, _, columns = fate.partition(" ")
    return [kind, *map(snake_case, columns.split(", "))] if columns else [kind]


def check_files(feed: str, extensions: set[str], spreadsheet: tuple[str, bytes], reordered: tuple[str, bytes]) -> None:
    """Files come in these formats; one as a spreadsheet saves it, and one with its columns in another order."""
    files = contents(DATA, feed)
    assert {"".join(Path(path).suffixes) for path in files} == extensions
    saved = files[f"incremental/{feed}/{spreadsheet[0]}"]
    assert saved.startswith(b"\xef\xbb\xbf" + spreadsheet[1])
    assert saved.count(b"\n") == saved.count(b"\r\n") > 100
    assert files[f"incremental/{feed}/{reordered[0]}"].startswith(reordered[1])
    batches = Counter(batch for _, batch, _, _ in FEEDS[feed].files)
    assert set(batches) == {"initial", "batch_001", "batch_002", "batch_003"}
    assert batches["initial"] == len(FEEDS[feed].columns)


def repeated_rows(deliveries: Deliveries, entity: str) -> list[list[str]]:
    """The batches of each row of an entity that comes more than once."""
    batches_of: dict[tuple, list[str]] = {}
    for (name, batch), rows in deliveries.items():
        for _, row in rows:
            if name == entity and row:
                batches_of.setdefault(tuple(sorted(row.items())), []).append(batch)
    return [batches for batches in batches_of.values() if len(batches) > 1]
