"""A newer major version of PostgreSQL: the data of the older one are refused, and `bin/warehouse upgrade` copies them.

They are made by PostgreSQL 16, which the wheel brings, too.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import run_command
from granary.server import embedded, home, programs, upgrade

OLD = 16
pytestmark = pytest.mark.skipif(OLD not in programs.installed(), reason="the wheel has no PostgreSQL 16")


def command(place: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run bin/warehouse on a home."""
    return run_command("bin/warehouse", *arguments, env={"GRANARY_PGDATA": str(place)})


def execute(socket: str, database: str, statements: str) -> None:
    """Run statements on a server by its socket."""
    with contextlib.closing(upgrade.connect(socket, database)) as connection, connection.cursor() as cursor:
        cursor.execute(statements)


@pytest.fixture
def old_home(scratch: Path) -> Iterator[Path]:
    """Give a home with the data of PostgreSQL 16: two databases with a table each, and a role that logs in."""
    place, old = scratch / "ware house", programs.installed()[OLD]
    place.mkdir()
    home.make_home(place)
    cluster = place / "cluster"
    options = ["--username=granary", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    made = programs.run_as_owner(place, [programs.program(place, "initdb", old), "-D", str(cluster), *options])
    assert made.returncode == 0, made.stderr
    lock = embedded.free_lock(place)
    with upgrade.serving(place, cluster, old, lock) as socket:
        for name in ("granary", "other"):
            execute(socket, "postgres", f"create database {name}")
            execute(socket, name, "create schema raw; create table raw.kept (place bigint primary key, content text)")
            execute(socket, name, "insert into raw.kept select i, 'ä ' || i from generate_series(1, 1000) as i")
        execute(socket, "granary", "create role ana login password 'secret'; grant select on raw.kept to ana")
    os.close(lock)
    yield place
    command(place, "stop")


def test_the_data_of_another_version_are_refused(old_home: Path) -> None:
    for action in ("start", "psql"):
        done = command(old_home, action)
        assert done.returncode == 1
        assert f"error: the data in {old_home} are those of PostgreSQL 16" in done.stderr
        assert "bin/warehouse upgrade" in done.stderr
    (old_home / "cluster" / "PG_VERSION").write_text("99\n")
    assert "make setup" in command(old_home, "start").stderr


def test_an_upgrade_copies_everything(old_home: Path) -> None:
    done = command(old_home, "upgrade")
    assert done.returncode == 0, done.stderr
    newest = max(programs.installed())
    assert f"from PostgreSQL 16 to {newest}" in done.stdout
    assert "copied 2 tables with 2,000 rows" in done.stdout
    rows = "select count(*), min(content), max(place) from raw.kept"
    for name in ("granary", "other"):
        assert command(old_home, "psql", "-d", name, "-Atc", rows).stdout == "1000|ä 1|1000\n"
    grants = "select has_table_privilege('ana', 'raw.kept', 'select'), rolpassword like 'SCRAM%' from pg_authid"
    assert command(old_home, "psql", "-Atc", f"{grants} where rolname = 'ana'").stdout == "t|t\n"
    assert (
        command(old_home, "psql", "-Atc", "select datlocprovider from pg_database where datname = 'granary'").stdout
        == "b\n"
    )
    assert (old_home / f"cluster.{OLD}" / "PG_VERSION").read_text() == f"{OLD}\n"
    assert "is running" in command(old_home, "upgrade").stderr
    command(old_home, "stop")
    assert f"are those of PostgreSQL {newest} already" in command(old_home, "upgrade").stdout


def test_what_is_missing_is_said_and_nothing_changes(old_home: Path, scratch: Path) -> None:
    done = command(old_home, "upgrade", scratch)
    assert done.returncode == 1
    assert f"the programs of PostgreSQL 16 are needed to read the data, and there are none in {scratch}" in done.stderr
    assert sorted(path.name for path in old_home.iterdir()) == ["cluster", "lock", "project"]


def test_rows_that_are_not_copied_stop_the_upgrade(old_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANARY_PGDATA", str(old_home))
    monkeypatch.setattr(upgrade, "COPY_DATABASE", upgrade.COPY_DATABASE.replace("--format", "--schema-only --format"))
    with pytest.raises(upgrade.GranaryError, match=r"not all rows were copied \(raw\.kept\)"):
        upgrade.upgrade()
    assert (old_home / "cluster" / "PG_VERSION").read_text() == f"{OLD}\n"
    monkeypatch.undo()
    assert command(old_home, "upgrade").returncode == 0


def test_an_upgrade_that_was_interrupted_at_its_end_is_completed(old_home: Path) -> None:
    assert command(old_home, "upgrade").returncode == 0
    (old_home / "cluster").rename(old_home / "cluster.upgraded")
    refused = command(old_home, "start")
    assert refused.returncode == 1, "an empty warehouse must not take the place of the data"
    assert command(old_home, "upgrade").returncode == 0
    assert command(old_home, "psql", "-Atc", "select count(*) from raw.kept").stdout == "1000\n"
