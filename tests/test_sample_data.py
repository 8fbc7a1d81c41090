"""The committed sample data, loaded and built: every planted mess ends as data/planted.csv says."""

import csv

import pytest

from conftest import ROOT, Database
from granary import declared


def test_rejected_rows_are_just_the_planted_ones(sample: Database) -> None:
    with (ROOT / "data" / "planted.csv").open(newline="", encoding="utf-8") as file:
        planted = [row for row in csv.DictReader(file) if row["file"].split("/")[1] in declared.feeds()]
    severity = {"line rejected": "row", "row rejected": "row", "value rejected": "value"}
    expected = {
        (severity[row["outcome"]], row["file"], int(row["line"]), row["column"] or None)
        for row in planted
        if row["outcome"] != "kept"
    }
    rejected = sample.query("select severity, file_path, line_number, column_name from marts.rejected_rows")
    assert len(rejected) == len(set(rejected))
    assert set(rejected) == expected
    lines = sample.query("select sum(rows_rejected) from raw._batches")
    assert lines == [(sum(row["outcome"] == "line rejected" for row in planted) or None,)]


def test_batches_read_what_they_loaded_or_rejected(sample: Database) -> None:
    odd = "select * from raw._batches where rows_read <> rows_loaded + rows_rejected or status <> 'loaded'"
    assert sample.query(odd) == []
    (loaded,) = sample.query("select sum(rows_loaded) from raw._batches")
    counts = "sum(rows_loaded_count), sum(rows_rejected_count + rows_staged_count)"
    assert sample.query(f"select {counts} from marts.load_audit") == [loaded * 2]


def test_column_comments_reach_the_database(sample: Database) -> None:
    mart = "'marts.load_audit'::regclass"
    ((table, missing),) = sample.query(
        f"select obj_description({mart}), count(*) from pg_attribute"
        f" where attrelid = {mart} and attnum > 0 and col_description({mart}, attnum) is null"
    )
    assert table.startswith("One row per ")
    assert missing == 0


@pytest.mark.feeds("tickets")
def test_a_rejection_has_a_code_and_a_sentence(sample: Database) -> None:
    query = """
        select distinct reason, explanation
        from marts.rejected_rows
        where feed = 'tickets' and (column_name is null) = %s
        order by reason, explanation
    """
    lines, values = sample.query(query, [True]), sample.query(query, [False])
    assert {code for code, _ in lines} == {"not_json", "ragged", "unclosed_quote"}
    assert ("ragged", "the line has 3 fields, the header has 5") in lines
    assert values == [
        ("missing_required", "required, but missing"),
        ("unreadable", "cannot be read as amount"),
        ("unreadable", "cannot be read as email"),
        ("unreadable", "cannot be read as label"),
        ("unreadable", "cannot be read as timestamp"),
    ]
