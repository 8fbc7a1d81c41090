"""The embedded server's life, the choice of the server, and the lock that loads and builds share."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import psycopg2
import psycopg2.extras
import pytest

from conftest import NEUTRAL, ROOT, Database, run_command, start_command, wait_until
from granary import project
from granary.server import embedded
from granary.server import home as server_home
from granary.server.connection import check_server, connect, environment, explain
from granary.server.lock import keep_lock, take_lock

OLD_SERVERS = sorted(Path("/usr/lib/postgresql").glob("1[0-5]/bin/pg_ctl"))


@pytest.fixture
def home(scratch: Path) -> Iterator[Path]:
    """Give the place of an embedded server that isn't there yet; stop it afterwards."""
    place = scratch / "ware house"
    yield place
    run_command("bin/warehouse", "stop", env={"GRANARY_PGDATA": str(place)})


def command(home: Path, *arguments: str, **kwargs) -> subprocess.CompletedProcess[str]:
    """Run bin/warehouse on an embedded server of its own."""
    return run_command("bin/warehouse", *arguments, env={"GRANARY_PGDATA": str(home)} | kwargs.pop("env", {}), **kwargs)


def test_a_server_lives_and_keeps_its_data(home: Path) -> None:
    assert command(home, "status").returncode == 3
    assert command(home, "stop").stdout == "the server wasn't running\n"
    started = command(home, "start")
    assert started.returncode == 0, started.stderr
    assert started.stdout.startswith("running   PostgreSQL 18")
    created = command(home, "psql", "-qc", "create table kept as select 1 as number")
    assert created.returncode == 0, created.stderr
    assert command(home, "status").returncode == 0
    assert command(home, "stop").stdout == "stopped\n"
    assert command(home, "status").returncode == 3
    assert command(home, "psql", "-Atc", "select number from kept").stdout == "1\n"  # started by being used


def test_only_the_owner_can_reach_the_server(home: Path) -> None:
    command(home, "start")
    assert home.stat().st_mode & 0o777 == 0o700
    assert home.parent.stat().st_mode & 0o777 == 0o711  # as it was
    assert command(home, "psql", "-Atc", "show listen_addresses").stdout == "\n"


def test_the_exports_lead_a_shell_to_the_server(home: Path) -> None:
    exports = command(home, "env").stdout
    script = (
        f'{exports}\n"$0" -c "import os, sys; print(*(os.environ[name] for name in sys.argv[1:]), sep=chr(10))" "$@"'
    )
    names = ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE"]
    seen = subprocess.run(["bash", "-c", script, "python3", *names], capture_output=True, text=True, check=True).stdout
    assert seen.splitlines() == [str(home), "5432", "granary", "granary"]
    # Such a shell means the embedded server, not a foreign one.
    assert command(home, "stop", env={"PGHOST": str(home)}).stdout == "stopped\n"
    assert command(home, "psql", "-Atc", "select 1", env={"PGHOST": str(home)}).stdout == "1\n"


def test_a_killed_server_starts_again(home: Path) -> None:
    command(home, "psql", "-qc", "create table kept as select 1 as number")
    postmaster = int((home / "cluster" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    done = command(home, "psql", "-Atc", "select number from kept")
    assert done.stdout == "1\n", done.stderr


def test_a_stale_pid_file_may_name_another_program(home: Path) -> None:
    command(home, "start")
    pid_file = home / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    os.kill(int(lines[0]), signal.SIGKILL)
    with subprocess.Popen(["sleep", "60"], user=home.stat().st_uid if os.geteuid() == 0 else None) as other:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:], ""]))
        done = command(home, "start")
        other.kill()
    assert done.returncode == 0, done.stderr


def unshared(*command: str | Path) -> list[str]:
    """Return a command that runs in namespaces of its own, as in a container that shares the directory."""
    words = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--mount-proc", *map(str, command)]
    if os.geteuid() != 0:
        words[1:1] = ["--user", "--map-current-user"]
    return words


def can_unshare() -> bool:
    """Return whether this system lets the user make namespaces."""
    return bool(shutil.which("unshare")) and subprocess.run(unshared("true"), capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="can't make namespaces here")
def test_a_home_in_use_in_another_container_is_refused(home: Path) -> None:
    """A second server, which doesn't see the first one's processes, would lose what the first one has acknowledged."""
    env = {**os.environ, **NEUTRAL, "GRANARY_PGDATA": str(home)}
    script = (
        f"{shlex.quote(str(ROOT))}/bin/warehouse psql -qc 'create table kept as select 1 as number' && echo up; read"
    )
    with subprocess.Popen(
        unshared("bash", "-c", script), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "up\n"
        for action in ("start", "status", "psql", "stop"):
            done = command(home, action)
            assert done.returncode == 1, done.stdout
            assert f"error: {home} is in use since 20" in done.stderr
            assert f"by a server on the host '{socket.gethostname()}'" in done.stderr
        first.communicate("\n", timeout=60)  # the namespace ends, and its processes with it
    done = command(home, "psql", "-Atc", "select number from kept")
    assert done.stdout == "1\n", done.stderr


def test_a_server_without_a_free_connection_is_no_reason_for_another_one(home: Path) -> None:
    command(home, "start")
    noted = (home / "cluster" / "postmaster.pid").read_text()
    with contextlib.ExitStack() as stack:
        with pytest.raises(psycopg2.OperationalError, match="too many clients"):
            for _ in range(200):
                held = psycopg2.connect(host=str(home), user="granary", dbname="granary")
                stack.callback(held.close)
        for action in ("status", "start", "psql"):
            done = command(home, action)
            assert done.returncode == 1
            assert "error: all connections that 'granary' can have" in done.stderr
            assert "are used: 100 by granary (idle).\n" in done.stderr
    assert command(home, "start").returncode == 0
    assert (home / "cluster" / "postmaster.pid").read_text() == noted


def test_a_stopped_server_is_running_and_not_answering(home: Path) -> None:
    command(home, "start")
    noted = (home / "cluster" / "postmaster.pid").read_text()
    postmaster = int(noted.splitlines()[0])
    os.kill(postmaster, signal.SIGSTOP)
    try:
        for action in ("status", "psql", "stop"):
            done = command(home, action)
            assert done.returncode == 1
            assert f"error: the embedded server is running, but its process {postmaster} was stopped" in done.stderr
            assert f"kill -CONT {postmaster}" in done.stderr
    finally:
        os.kill(postmaster, signal.SIGCONT)
    assert command(home, "status").returncode == 0
    assert (home / "cluster" / "postmaster.pid").read_text() == noted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could write to the file of another user")
@pytest.mark.parametrize("name", ["project", "lock", "log"])
def test_root_follows_no_link_of_the_homes_owner(home: Path, name: str) -> None:
    command(home, "start")
    command(home, "stop")
    other = home.with_name("a file of root's")
    other.write_text("as it was")
    other.chmod(0o600)
    (home / name).unlink()
    (home / name).symlink_to(other)
    done = command(home, "start")
    assert done.returncode == (0 if name == "project" else 1), done.stderr  # the link itself may be replaced
    assert other.read_text() == "as it was"
    assert other.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root wrote it for another user")
def test_a_home_of_an_earlier_version_is_used(home: Path) -> None:
    command(home, "start")
    command(home, "stop")
    (home / "lock").unlink()
    (home / "project").unlink()
    (home / "project").write_text(str(home))
    done = command(home, "start")
    assert done.returncode == 0, done.stderr


def test_many_first_uses_at_once_share_one_server(home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: command(home, "psql", "-Atc", "show data_directory"), range(4)))
    assert [each.stdout for each in done] == [f"{home}/cluster\n"] * 4, done


def test_an_interrupted_creation_is_done_again(home: Path) -> None:
    (home / "cluster.new" / "base").mkdir(parents=True)
    if os.geteuid() == 0:
        account = server_home.server_account()
        for path in (home, home / "cluster.new", home / "cluster.new" / "base"):
            os.chown(path, account.pw_uid, account.pw_gid)
    done = command(home, "start")
    assert done.returncode == 0, done.stderr
    assert not (home / "cluster.new").exists()


def test_a_creation_that_was_killed_is_waited_for(home: Path) -> None:
    with start_command("bin/warehouse", "start", env={"GRANARY_PGDATA": str(home)}) as starter:
        wait_until(lambda: (home / "cluster.new").exists(), starter)
        starter.kill()
        starter.wait()
        assert embedded.is_held(home), "initdb goes on"
        done = command(home, "start")
    assert done.returncode == 0, done.stderr


def test_a_pipe_in_a_home_keeps_nobody_waiting(home: Path) -> None:
    command(home, "start")
    command(home, "stop")
    for name in ("lock", "project"):
        (home / name).unlink()
        os.mkfifo(home / name)
        command(home, "status", timeout=30)
    done = command(home, "start", timeout=30)
    assert done.returncode == 1
    assert f"{home}/lock isn't a file" in done.stderr


def test_a_path_too_long_for_a_socket_works(scratch: Path) -> None:
    deep = scratch.joinpath(*["a long name, with a comma"] * 6)
    deep.parent.mkdir(parents=True)
    try:
        assert command(deep, "psql", "-Atc", "select 1").stdout == "1\n"
        directory = server_home.socket_directory(deep)
        assert directory.stat().st_mode & 0o777 == 0o700
    finally:
        assert command(deep, "stop").stdout == "stopped\n"
    assert not directory.exists()


def test_a_short_socket_directory_of_somebody_else_is_refused(scratch: Path) -> None:
    deep = scratch.joinpath(*["a long name"] * 9)
    deep.parent.mkdir(parents=True)
    directory = server_home.socket_directory(deep)
    directory.mkdir()
    directory.chmod(0o777)
    try:
        done = command(deep, "start")
    finally:
        directory.rmdir()
    assert done.returncode == 1
    assert f"error: {directory} isn't a private directory" in done.stderr


def test_a_moved_home_keeps_its_server_and_its_data(home: Path) -> None:
    command(home, "psql", "-qc", "create table kept as select 1 as number")
    moved = home.rename(home.with_name("moved"))
    try:
        for _ in ("running all the while", "started in the new place"):
            done = command(moved, "psql", "-Atc", "select number from kept")
            assert done.stdout == "1\n", done.stderr
            assert command(moved, "stop").stdout == "stopped\n"
    finally:
        command(moved, "stop")


@pytest.mark.parametrize("depth", [1, 10], ids=["the socket is in the home", "its path is too long for one"])
def test_a_moved_home_does_not_share_the_server_that_takes_its_place(home: Path, depth: int) -> None:
    """PostgreSQL writes pg_control by its absolute path: the server of the moved home would damage the other."""
    place = home.joinpath(*["a long name"] * depth)
    place.parent.mkdir(parents=True)
    command(place, "psql", "-qc", "create table kept as select 1 as number")
    moved = place.rename(home / "moved")
    try:
        assert command(moved, "psql", "-Atc", "select number from kept").stdout == "1\n"
        refused = command(place, "start")
        assert refused.returncode == 1
        assert not (place / "cluster").exists()
        assert f"its data were moved to {moved}" in refused.stderr
        assert shlex.quote(str(moved)) in refused.stderr
        command(moved, "stop")
        started = command(place, "psql", "-Atc", "select to_regclass('kept') is null")
        assert started.stdout == "t\n", started.stderr
        assert command(moved, "psql", "-Atc", "select number from kept").stdout == "1\n"
        assert embedded.answering_socket(moved) != embedded.answering_socket(place)
        command(moved, "stop")
        assert command(place, "status").returncode == 0
    finally:
        command(place, "stop")
        command(moved, "stop")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_home_is_the_same_by_another_path(home: Path) -> None:
    """Such as by that of a bind mount."""
    command(home, "start")
    other = home.with_name("mounted")
    other.mkdir()
    script = 'mount --bind "$0" "$1" && GRANARY_PGDATA="$1" bin/warehouse stop'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, home, other], cwd=ROOT, capture_output=True, text=True
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "stopped\n", done.stderr
    assert command(home, "status").returncode == 3


def test_the_end_of_a_moved_server_does_not_damage_what_took_its_place(home: Path) -> None:
    command(home, "psql", "-qc", "create table kept as select 1 as number")
    command(home, "stop")
    backup = home.with_name("backup")
    subprocess.run(["cp", "-a", home, backup], check=True)
    command(home, "psql", "-qc", "create table later as select 1 as number")
    moved = home.rename(home.with_name("moved"))
    backup.rename(home)
    control = (home / "cluster" / "global" / "pg_control").read_bytes()
    assert command(moved, "stop").stdout == "stopped\n"
    assert (home / "cluster" / "global" / "pg_control").read_bytes() == control
    for place, found in ((home, "f"), (moved, "t")):
        done = command(place, "psql", "-Atc", "select to_regclass('later') is not null from kept")
        assert done.stdout == f"{found}\n", done.stderr
    command(moved, "stop")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a process's directory was removed")
def test_a_removed_home_takes_its_server_along(home: Path) -> None:
    command(home, "start")
    removed = int((home / "cluster" / "postmaster.pid").read_text().splitlines()[0])
    time.sleep(3)  # one that has only just started ends by itself
    shutil.rmtree(home)
    done = command(home, "psql", "-Atc", "select 'afresh'")
    assert done.stdout == "afresh\n", done.stderr
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(removed).status() == psutil.STATUS_ZOMBIE  # some systems collect ended processes late


def test_a_copied_home_has_a_server_of_its_own(home: Path) -> None:
    """Made while the original runs, it has the original's postmaster.pid."""
    command(home, "start")
    copy = home.with_name("copy")
    for _ in range(3):
        subprocess.run(["cp", "-a", home, copy], check=True)
        try:
            assert command(copy, "psql", "-Atc", "show data_directory").stdout == f"{copy}/cluster\n"
        finally:
            command(copy, "stop")
            shutil.rmtree(copy)
    assert command(home, "status").returncode == 0


def test_a_note_that_is_being_replaced_leads_to_no_other_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a copied home replaces its original's note while it starts, and does not answer yet."""
    command(home, "start")
    copy = home.with_name("copy")
    subprocess.run(["cp", "-a", home, copy], check=True)
    noted, answers = embedded.noted_by_postmaster, embedded.answers
    notes = iter([noted(copy)])
    command(copy, "start")
    try:
        monkeypatch.setattr(embedded, "noted_by_postmaster", lambda real: next(notes, None) or noted(real))
        monkeypatch.setattr(embedded, "answers", lambda place, note=None: place != copy and answers(place, note))
        assert embedded.answering_socket(copy) is None
    finally:
        command(copy, "stop")


def test_orphans_of_a_killed_postmaster_can_be_stopped(home: Path) -> None:
    command(home, "start")
    busy = psycopg2.connect(host=str(home), port=5432, user="granary", dbname="granary", async_=True)
    psycopg2.extras.wait_select(busy)
    busy.cursor().execute("do $$ begin loop end loop; end $$")
    os.kill(int((home / "cluster" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    stopped = command(home, "stop")
    assert (stopped.returncode, stopped.stdout) == (0, "stopped\n"), stopped.stderr
    assert command(home, "status").returncode == 3
    assert command(home, "start").returncode == 0


def test_a_copied_link_does_not_share_its_originals_data(home: Path) -> None:
    link, copy = home.with_name("link"), home.with_name("copied link")
    home.mkdir()
    link.symlink_to(home)
    assert command(link, "start").returncode == 0
    copy.symlink_to(home)
    for action in ("status", "psql", "stop"):
        done = command(copy, action)
        assert done.returncode == 1
        assert f"error: {copy} is a copy of {link}" in done.stderr
    assert command(link, "status").returncode == 0
    assert command(home, "status").returncode == 0  # the directory itself is no copy
    moved = link.rename(home.with_name("moved link"))
    assert command(moved, "status").returncode == 0


def test_a_directory_with_other_things_is_refused(home: Path) -> None:
    home.mkdir()
    (home / "letters").touch()
    done = command(home, "start")
    assert done.returncode == 1
    assert f"error: {home} has other files and no warehouse" in done.stderr


def test_a_home_that_can_not_be_created_is_explained() -> None:
    done = command(Path("/proc/warehouse"), "start")
    assert done.returncode == 1
    assert done.stderr.startswith("error: can't use the embedded server: ")
    assert "GRANARY_PGDATA" in done.stderr


# -- A server of the user's own ----------------------------------------------------------------------------------------


def test_no_server_at_pghost_is_explained() -> None:
    done = run_command("bin/warehouse", "status", env={"PGHOST": "127.0.0.1", "PGPORT": "1"})
    assert done.returncode == 1
    assert done.stderr.startswith("error: no PostgreSQL server can be reached at PGHOST=127.0.0.1, PGPORT=1.")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"PGDATABASE": "no such one"}, "-h '{host}' -p 5432 -U granary 'no such one'"),
        ({"PGUSER": "nobody"}, "the user 'nobody' doesn't exist at {host}:5432: set PGUSER, or create it."),
        ({"PGHOST": "no.such.host.invalid"}, "unknown host PGHOST=no.such.host.invalid: check the spelling"),
    ],
)
def test_a_login_that_fails_is_explained(database: Database, settings: dict[str, str], expected: str) -> None:
    done = database.run("bin/warehouse", "status", env=settings)
    assert done.returncode == 1
    assert expected.format(host=database.environment["PGHOST"]) in done.stderr


def test_a_wrong_password_is_explained() -> None:
    parameters = {"host": "db", "port": "5432", "user": "granary", "dbname": "granary"}
    message = 'connection to server at "db" failed: FATAL:  password authentication failed for user "granary"'
    assert "check PGUSER and PGPASSWORD" in explain(message, parameters)


def test_start_and_stop_leave_a_server_of_the_users_own_alone(database: Database) -> None:
    foreign = {"GRANARY_PGDATA": ""}  # so that the tests' server is any server
    for action in ("start", "stop"):
        done = database.run("bin/warehouse", action, env=foreign)
        assert (done.returncode, done.stdout[:14]) == (0, "PGHOST is set:"), done.stderr
    assert database.query("select 1") == [(1,)]


@pytest.mark.parametrize(
    ("number", "server_version", "server_encoding", "expected"),
    [
        (150018, "15.18", "UTF8", r"PGHOST=db is PostgreSQL 15\.18; Granary needs 16 or newer"),
        (160000, "16.0", "SQL_ASCII", r"'sales' at PGHOST=db is encoded in SQL_ASCII; Granary needs UTF8"),
        (160000, "16.0", "UTF8", None),
    ],
)
def test_an_unfit_server_is_refused(number: int, server_version: str, server_encoding: str, expected: str) -> None:
    status = {"server_version": server_version, "server_encoding": server_encoding}
    connection = SimpleNamespace(
        server_version=number,
        get_parameter_status=status.get,
        info=SimpleNamespace(host="db", dbname="sales"),
        close=lambda: None,
    )
    with pytest.raises(project.GranaryError, match=expected) if expected else contextlib.nullcontext():
        check_server(connection)


@pytest.mark.skipif(not OLD_SERVERS, reason="no PostgreSQL older than 16 is installed")
def test_an_old_server_is_refused_for_real(scratch: Path) -> None:
    programs, data = OLD_SERVERS[-1].parent, scratch / "old"
    data.mkdir(mode=0o700)
    account = pwd.getpwnam("nobody")
    options = {"check": True, "cwd": "/", "env": {"LC_ALL": "C"}, "stdout": subprocess.DEVNULL}
    if os.geteuid() == 0:
        os.chown(data, account.pw_uid, account.pw_gid)
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    subprocess.run([programs / "initdb", "-D", data / "cluster", "-U", "granary", "-A", "trust"], **options)
    settings = f"-c listen_addresses='' -c unix_socket_directories='\"{data}\"'"
    control = [programs / "pg_ctl", "-D", data / "cluster", "-w"]
    subprocess.run([*control, "-l", data / "log", "-o", settings, "start"], **options)
    try:
        for program in (["bin/warehouse", "status"], ["bin/dbt", "build"]):
            done = run_command(*program, env={"PGHOST": str(data), "PGDATABASE": "postgres"})
            assert done.returncode == 1
            assert "Granary needs 16 or newer" in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **options)


# -- The lock ----------------------------------------------------------------------------------------------------------


def test_the_lock_is_held_by_one_at_a_time(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(connect()) as first, contextlib.closing(connect()) as second:
        take_lock(first, "dbt build")
        release = threading.Timer(0.5, first.rollback)
        release.start()
        started = time.monotonic()
        with second:
            take_lock(second, "load of one file")
            assert time.monotonic() - started > 0.4
            release.join()
        take_lock(first, "the next build")  # the transaction's end gave it back
        waiting = (
            f"waiting for a load or build that is running (pid {first.info.backend_pid}, granary: dbt build) ...\n"
        )
    assert capfd.readouterr().err == waiting


def test_a_closed_connection_gives_the_lock_back(database: Database) -> None:
    first = connect()
    take_lock(first, "dbt build")
    first.close()
    with contextlib.closing(connect()) as second:
        take_lock(second, "another build")
        assert psycopg2.extensions.get_wait_callback() is None


def test_a_wait_for_the_lock_ends_whenever_it_is_interrupted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some moments fall between the sending of the query and its arrival, when a server would ignore a cancellation."""
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=5s")  # a wait that goes on becomes an error
    with contextlib.closing(connect()) as holder:
        take_lock(holder, "dbt build")
        for microseconds in range(0, 4000, 40):
            with contextlib.closing(connect()) as waiting, pytest.raises(KeyboardInterrupt):
                threading.Timer(microseconds / 1_000_000, os.kill, [os.getpid(), signal.SIGINT]).start()
                take_lock(waiting, "load of one file")
    assert psycopg2.extensions.get_wait_callback() is None


@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_wait_that_the_server_ends_is_explained(database: Database, end: str) -> None:
    with contextlib.closing(connect()) as holder, contextlib.closing(connect()) as waiting:
        take_lock(holder, "dbt build")
        threading.Timer(0.5, database.query, [f"select {end}({waiting.info.backend_pid})"]).start()
        with pytest.raises(project.GranaryError, match="the server ended the wait for the lock: try again"):
            take_lock(waiting, "load of one file")


def test_the_lock_survives_a_server_that_ends_idle_transactions(database: Database) -> None:
    lost = threading.Event()
    with contextlib.closing(connect(options="-c idle_in_transaction_session_timeout=100ms")) as holder:
        take_lock(holder, "dbt build")
        keep_lock(holder, lost.set)
        assert not lost.wait(0.5)


def test_only_loaders_and_builders_can_take_the_lock(database: Database) -> None:
    """A role without rights can neither take it nor keep anyone from it."""
    database.run("bin/warehouse", "roles")
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        for role in ("granary_loader", "granary_builder"):
            cursor.execute(f"set role {role}")
            take_lock(connection, role)
            connection.rollback()
        for role in ("granary_reader", "granary_api"):
            cursor.execute(f"set role {role}")
            with pytest.raises(project.GranaryError, match=r"may not take the lock .*\n.*bin/warehouse roles"):
                take_lock(connection, role)
            connection.rollback()
            cursor.execute(f"set role {role}")
            for mode in ("access share", "exclusive"):
                cursor.execute("savepoint tried")
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(f"lock table granary_lock.turn in {mode} mode")
                cursor.execute("rollback to savepoint tried")
            connection.rollback()


def test_a_builder_may_not_change_the_roles(database: Database) -> None:
    assert database.run("bin/warehouse", "roles").returncode == 0
    done = database.run("bin/warehouse", "roles", env={"PGOPTIONS": "-c role=granary_builder"})
    assert done.returncode == 1
    assert done.stderr.startswith("error: the roles can't be created: ")


def test_two_first_users_of_the_lock_make_one_table(database: Database) -> None:
    def take() -> None:
        with contextlib.closing(connect()) as own, own:
            take_lock(own, "load of one file")

    waits = "select count(*) from pg_locks where not granted"
    with contextlib.closing(connect()) as other, ThreadPoolExecutor(1) as pool:
        with other, other.cursor() as cursor:
            cursor.execute("drop schema if exists granary_lock cascade")
        with other, other.cursor() as cursor:
            cursor.execute("create schema granary_lock; create table granary_lock.turn ()")
            taken = pool.submit(take)
            wait_until(lambda: database.query(waits) != [(0,)], seconds=60)
        taken.result(timeout=60)


def test_sessions_are_in_utc(database: Database) -> None:
    database.query("set time zone 'Asia/Tokyo'")
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute("show timezone")
        assert cursor.fetchone() == ("UTC",)


def test_variables_that_are_set_win_over_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, neutral_environment: Callable
) -> None:
    (tmp_path / ".env").write_text("PGHOST=from-file\nGRANARY_TRIAL=from-file\n")
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setenv("PGHOST", "from-environment")
    monkeypatch.setenv("GRANARY_TRIAL", "")
    monkeypatch.delenv("GRANARY_TRIAL")
    values = environment()
    assert values["PGHOST"] == "from-environment"
    assert os.environ["GRANARY_TRIAL"] == "from-file"
