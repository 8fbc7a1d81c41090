"""The sample data is the same everywhere; each planted row is where the table says. Feeds test their own stories."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import subprocess
import sys
import tracemalloc
from decimal import Decimal

import pytest

from conftest import NO_FEED, ROOT, needs_sample
from generate_data import FEEDS, main, planted_rows, write_planted
from sample_data.files import StoredGzip
from sample_files import DATA, NUMBER, contents, generate, read_feed, read_lines

each_feed = pytest.mark.parametrize("feed", list(FEEDS) or [NO_FEED])


# The same bytes everywhere


@each_feed
def test_the_committed_data_is_what_the_generator_writes(feed, tmp_path):
    assert contents(generate(tmp_path, feed), feed) == contents(DATA, feed)


def test_the_planted_table_is_that_of_the_generator(tmp_path):
    """It may still have rows of feeds that were taken out."""
    write_planted(tmp_path / "planted.csv")
    with (DATA / "planted.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with (tmp_path / "planted.csv").open(newline="", encoding="utf-8") as file:
        assert [header, *(row for row in rows if row[0].split("/")[1] in FEEDS)] == list(csv.reader(file))
    assert header == ["file", "line", "column", "outcome", "story", "why"]
    assert {row[3] for row in rows} <= {"kept", "line rejected", "row rejected", "value rejected"}


@each_feed
def test_another_process_with_another_hash_seed_writes_the_same_bytes(feed, tmp_path):
    script = ROOT / "benchmarks/generator/generate_data.py"
    command = [sys.executable, script, "--feed", feed, "--scale", "3", "--seed", "11"]
    for seed in ("0", "1"):
        subprocess.run(
            [*command, "--out", tmp_path / seed],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONSAFEPATH": ""},
        )
    assert contents(tmp_path / "0", feed) == contents(tmp_path / "1", feed) != {}


@each_feed
def test_another_seed_changes_regular_rows_and_no_planted_one(feed, tmp_path):
    other = generate(tmp_path, feed, "--seed", "8")
    assert contents(other, feed) != contents(DATA, feed)
    for row in planted_rows(feed):
        assert dict(read_lines(other, row.path))[row.line] == dict(read_lines(DATA, row.path))[row.line]


@each_feed
def test_gz_files_carry_no_time_and_any_reader_opens_them(feed):
    gz = {path: data for path, data in contents(DATA, feed).items() if path.endswith(".gz")}
    assert gz
    for data in gz.values():
        assert data[4:8] == bytes(4)
        assert b"," in gzip.decompress(data)[:100]


def test_a_gz_file_longer_than_a_block_reads_back_whole():
    class Kept(io.BytesIO):
        def close(self):
            pass

    kept, text = Kept(), bytes(range(256)) * 1000
    with StoredGzip(kept) as file:
        for start in range(0, len(text), 777):
            file.write(text[start : start + 777])
    assert gzip.decompress(kept.getvalue()) == text


@each_feed
def test_memory_does_not_grow_with_the_scale(feed, tmp_path):
    def peak(scale: str) -> int:
        tracemalloc.start()
        generate(tmp_path, feed, "--scale", scale)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak("1")  # the first run also pays for what Python caches
    assert peak("20") < peak("2") + 500_000  # bytes; the files of scale 20 hold 4 million


@each_feed
def test_each_planted_row_stands_where_the_table_says(feed):
    committed = read_feed(DATA, feed)
    for planted in planted_rows(feed):
        row, columns = dict(committed[planted.entity, planted.batch])[planted.line], FEEDS[feed].columns[planted.entity]
        if planted.fate == "line":
            assert row is None
        else:
            assert set(row) == set(columns)
            values = tuple(row[name] for name in columns)
            assert values == planted.values or (
                ".json" in planted.path and as_numbers(values) == as_numbers(planted.values)
            )


def as_numbers(values: tuple) -> list:
    """The values with 45.0 and 45.00 as the same."""
    return [Decimal(value) if NUMBER.fullmatch(value) else value for value in values]


@each_feed
def test_every_word_for_nothing_is_planted(feed):
    assert {"", "N/A", "NULL", "None", "null", "-"} <= {value for row in planted_rows(feed) for value in row.values}


# The command


@pytest.mark.parametrize("scale", ["0", "-1", "many", "1.5"])
def test_a_scale_that_is_no_whole_number_is_refused(scale, capsys):
    with pytest.raises(SystemExit):
        main(["--scale", scale])
    assert "is not a whole number from 1" in capsys.readouterr().err


@needs_sample
def test_an_unwritable_place_is_a_clear_error_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "initial").write_text("a file where a directory must be")
    assert main(["--out", str(tmp_path)]) == 1
    assert re.fullmatch(r"error: can't write .*; choose another directory with --out\n", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["initial"]


@each_feed
def test_a_planted_table_with_a_slip_is_refused(feed, monkeypatch):
    monkeypatch.setitem(FEEDS, feed, FEEDS[feed]._replace(planted="nothing batch_009 |o_1|"))
    with pytest.raises(ValueError, match="not a planted row: nothing batch_009"):
        planted_rows(feed)
