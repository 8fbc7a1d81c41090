"""Deployment: files for containers and systemd fit the project; a server with passwords serves, and can be restored."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
import requests
import yaml
from psycopg2 import sql

from conftest import DBT, NEUTRAL, ROOT, fetch, free_port, run_command, scratch_directory, wait_until
from granary.server import home as server_home
from granary.server import programs as server_programs

COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
GRANARY = [name for name, service in SERVICES.items() if service["image"] == "granary"]
IN_THE_IMAGE = {"cp", "make", "python3", "sh"}  # programs that are not the project's
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())

OWNER, API, READER = "0123", "it's $ecret: /@", "r ead"  # passwords, none of them easy to quote


# -- The proxy ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("nginx") or not shutil.which("openssl"), reason="needs nginx and openssl")
def test_nginx_refuses_with_problem_documents(tmp_path: Path) -> None:
    key, certificate, port = tmp_path / "key", tmp_path / "certificate", free_port()
    made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    site = site.replace("/etc/ssl/granary.pem", str(certificate)).replace("/etc/ssl/granary.key", str(key))
    site = site.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl").replace(":8000;", f":{free_port()};")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)  # those by default are root's
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {folders} {site} }}"
    )
    nginx = subprocess.Popen(["nginx", "-e", "stderr", "-c", whole], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), nginx)
        address = f"https://127.0.0.1:{port}"
        for status, query, headers in ((414, "q" * 70_000, {}), (431, "", {"X-Long": "x" * 70_000})):
            answer = requests.get(f"{address}/?{query}", headers=headers, verify=certificate, timeout=30)
            assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
            assert answer.json()["status"] == status
        passed_on = requests.get(f"{address}/?{'q' * 60_000}", verify=certificate, timeout=30)
        assert passed_on.status_code == 502, "the API, which isn't running, answers addresses that are too long for it"
    finally:
        nginx.terminate()
        nginx.communicate(timeout=60)


# -- Containers --------------------------------------------------------------------------------------------------------


def programs(command: list[str]) -> Iterator[str]:
    """Return the programs that a command runs, those in its shell's script, too."""
    yield command[0]
    if command[:2] == ["sh", "-c"]:
        yield from (shlex.split(part)[0] for part in command[2].split("&&"))


@pytest.mark.parametrize("name", GRANARY)
def test_a_service_runs_a_program_that_there_is(name: str) -> None:
    for program in programs(SERVICES[name]["command"]):
        assert program in IN_THE_IMAGE or os.access(ROOT / program, os.X_OK), program


def test_the_image_runs_a_program_that_there_is() -> None:
    (command,) = re.findall(r"^CMD (.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert yaml.safe_load(command) == SERVICES["api"]["command"]


def test_each_variable_of_compose_is_explained() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE))
    assert {"PGPASSWORD", "GRANARY_API_PASSWORD", "GRANARY_DATA"} <= used
    explained = set(re.findall(r"^# (\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert used <= explained


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "build"])
def test_ports_are_open_on_this_machine_only(name: str) -> None:
    assert SERVICES[name]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", ["api", "dashboard"])
def test_what_serves_knows_no_password_of_the_owner(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["PGUSER"] in ("granary_api", "granary_reader")
    assert not re.search(r"\$\{(PGUSER|PGPASSWORD)", str(environment))


def test_the_image_is_set_up_from_what_it_copies(tmp_path: Path) -> None:
    first = DOCKERFILE.partition("RUN export")[0]
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", first, flags=re.MULTILINE):
        assert target in (source, f"{Path(source).parent}/"), "it is where it was"
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, tmp_path / source)
    parts = re.findall(r"scripts/setup\.sh (--\w+)", DOCKERFILE)
    assert parts == ["--api", "--dashboard"]
    for part in parts:
        done = run_command("scripts/setup.sh", part, root=tmp_path, env={"PYTHON": "/no/python"})
        assert done.stderr.startswith("error: PYTHON=/no/python"), "it knows the part, and looks for a Python next"
    (stamp,) = re.findall(r"^    (cat .*) \| sha256sum", (tmp_path / "scripts/setup.sh").read_text(), re.MULTILINE)
    assert stamp == 'cat "$root/requirements.txt" "$root"/requirements/*.txt', "all of it is copied"


def test_the_image_has_no_secrets_and_nothing_of_this_machine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert {".env", ".git", ".venv", ".warehouse", "data", "output"} <= set(ignored)
    needed = {"Makefile", "bin", "dbt", "requirements", "requirements.txt", "scripts", "serving"}
    assert not needed & {line.strip("/") for line in ignored}


# -- systemd -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_names_what_there_is(unit: Path) -> None:
    text = unit.read_text()
    guide = (ROOT / "docs" / "deployment.md").read_text()
    for path in re.findall(r"/srv/granary(?:/(\S+))?", text):
        assert os.access(ROOT / path, os.X_OK), path
    for path in re.findall(r"^EnvironmentFile=(.*)$", text, flags=re.MULTILINE):
        assert path in guide
    if unit.suffix == ".timer":
        assert unit.with_suffix(".service") in UNITS


# -- A server with passwords -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server() -> Iterator[dict[str, str]]:
    """A server on a port, with passwords; give the environment of the warehouse's owner, who isn't a superuser."""
    with scratch_directory() as directory:
        home = directory / "server"
        home.mkdir(mode=0o700)
        if os.geteuid() == 0:
            account = server_home.server_account()
            os.chown(home, account.pw_uid, account.pw_gid)
        (directory / "password").write_text("postgres")
        port = str(free_port())

        def control(name: str, *arguments: str) -> None:
            command = [server_programs.program(home, name), "--pgdata", str(home / "cluster"), *arguments]
            done = server_programs.run_as_owner(home, command)
            assert done.returncode == 0, done.stdout + done.stderr

        control(
            "initdb", "--username=postgres", "--auth=scram-sha-256", f"--pwfile={directory / 'password'}",
            "--encoding=UTF8", "--locale=C", "--set=listen_addresses=127.0.0.1", "--set=unix_socket_directories=",
            f"--set=port={port}", "--set=fsync=off",
        )  # fmt: skip
        environment = {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "granary", "PGDATABASE": "granary"}
        environment |= {"PGPASSWORD": OWNER, "GRANARY_API_PASSWORD": API, "GRANARY_READER_PASSWORD": READER}
        environment |= {"DBT_TARGET_PATH": str(directory / "target"), "DBT_LOG_PATH": str(directory / "logs")}
        control("pg_ctl", "start", "--wait", "--log", str(home / "log"))
        try:
            superuser = environment | {"PGUSER": "postgres", "PGPASSWORD": "postgres", "PGDATABASE": "postgres"}
            query(superuser, f"create role granary login createrole createdb password '{OWNER}'")
            query(superuser, "create database granary owner granary")
            yield environment
        finally:
            control("pg_ctl", "stop", "--wait", "--mode=fast")


def query(environment: dict[str, str], text: str | sql.Composable) -> list[tuple]:
    """Run one statement as the environment says, and return its rows, if it has any."""
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    with contextlib.closing(psycopg2.connect(**{name: environment[key] for name, key in names.items()})) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []


def succeed(environment: dict[str, str], *command: str | Path) -> str:
    """Run a command, which must succeed, and return what it printed."""
    done = run_command(*command, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(own_server: dict[str, str]) -> dict[str, str]:
    """The sample data, loaded and built by the owner, with roles."""
    succeed(own_server, "bin/ingest")
    succeed(own_server, *DBT, "build", "--exclude-resource-type", "test", "unit_test")
    succeed(own_server, "bin/warehouse", "roles")
    return own_server


@pytest.fixture(scope="module")
def token(built: dict[str, str]) -> str:
    return succeed(built, "bin/api-token", "create", "--name", "trial").strip()


AS_API = {"PGUSER": "granary_api", "PGPASSWORD": API, "GRANARY_API_PASSWORD": ""}
AS_READER = {"PGUSER": "granary_reader", "PGPASSWORD": READER, "GRANARY_API_PASSWORD": ""}


@contextlib.contextmanager
def serving(environment: dict[str, str], *command: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run one of the project's servers on a free port; give its address, and the process."""
    port = free_port()
    server = subprocess.Popen(
        [ROOT / command[0], *command[1:], "--port", str(port)],
        env={"PATH": os.environ["PATH"]} | NEUTRAL | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)


@pytest.mark.feeds("shop")
@pytest.mark.parametrize("login", [{}, AS_API], ids=["as the owner", "as granary_api"])
def test_the_api_serves_with_a_password(built: dict[str, str], token: str, login: dict[str, str]) -> None:
    with serving(built | login, "bin/api") as (address, server):
        assert b'"status": "ok"' in fetch(f"{address}/api/v1/health", server)
        request = urllib.request.Request(f"{address}/api/v1/daily_sales")
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("command", "login", "words"),
    [
        ("bin/api", {"GRANARY_API_PASSWORD": "wrong"}, "set GRANARY_API_PASSWORD, then run bin/warehouse roles"),
        ("bin/api", AS_API | {"PGPASSWORD": "wrong"}, "refuses the password of 'granary_api'"),
        ("bin/warehouse roles", AS_READER, "Run bin/warehouse roles as the owner"),
        ("bin/warehouse roles", AS_API, "Run bin/warehouse roles as the owner"),
        ("bin/api-token list", AS_READER, "set PGUSER to the user who ran bin/warehouse roles"),
        ("bin/api-token create --name mine", AS_API, "set PGUSER to the user who ran bin/warehouse roles"),
    ],
)
def test_who_may_not_is_told_so(built: dict[str, str], command: str, login: dict[str, str], words: str) -> None:
    done = run_command(*command.split(), env=built | login)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


@pytest.mark.feeds("shop")
def test_the_reader_reads_marts_and_nothing_else(built: dict[str, str]) -> None:
    reader = built | AS_READER
    assert query(reader, "select count(*) from marts.fct_daily_sales") == [(70,)]
    for statement in ("select * from raw._batches", "select * from api.tokens", "drop table marts.fct_daily_sales"):
        with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)):
            query(reader, statement)


def test_the_dashboard_serves_all_addresses_and_asks_nobody_for_its_own() -> None:
    with serving({"PYTHONUNBUFFERED": "1"}, "bin/dashboard", "--host", "0.0.0.0") as (address, server):
        assert fetch(f"{address}/_stcore/health", server) == b"ok"
        said = "".join(server.stdout.readline().decode() for _ in range(5))
    assert re.findall("(.*): http", said) == ["  URL"], "neither a local, nor a network, nor an external one"


# -- Backup ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def restored(built: dict[str, str], token: str, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Give a function that backs up the warehouse, or some of its schemas, and restores that, as the guide says."""
    guide = (ROOT / "docs" / "deployment.md").read_text()

    def restore(name: str, *schemas: str) -> dict[str, str]:
        file = tmp_path / "granary.dump"
        options = [f"--schema={schema}" for schema in schemas]
        dump = ["bin/warehouse", "pg_dump", "--format=custom", *options]
        create = f"create database {name} template template0 encoding 'UTF8'"
        load = ["bin/warehouse", "pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={name}"]
        for words in (" ".join(dump), create.replace(name, "restored"), " ".join(load).replace(name, "restored")):
            assert words in guide
        succeed(built, *dump, f"--file={file}")
        succeed(built, "bin/warehouse", "psql", "--dbname=postgres", "--command", create)
        succeed(built, *load, file)
        copy = built | {"PGDATABASE": name}
        succeed(copy, "bin/warehouse", "roles")
        return copy

    return restore


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the tables of `other` that hold other rows in `one`; each has its own builds, watermarks and rules."""
    tables = query(
        other,
        "select table_schema, table_name from information_schema.tables"
        " where table_schema in ('raw', 'api', 'intermediate', 'marts')"
        " and table_name not in ('_begun_builds', '_builds', '_watermarks', '_rules', 'build_log', 'table_log')",
    )
    assert {("raw", "_batches"), ("api", "tokens"), ("marts", "course_engagement")} <= set(tables)
    everything = sql.SQL("select cast(rows as text) from {} as rows")
    return [
        ".".join(table)
        for table in tables
        if Counter(query(one, everything.format(sql.Identifier(*table))))
        != Counter(query(other, everything.format(sql.Identifier(*table))))
    ]


@pytest.mark.feeds("courses", "market", "shop", "tickets")
def test_a_whole_backup_brings_everything_back(built: dict[str, str], restored: Callable[..., dict[str, str]]) -> None:
    copy = restored("whole")
    assert differences(built, copy) == differences(copy, built) == []
    assert "0 loaded (0 rows, 0 lines rejected), 76 known" in succeed(copy, "bin/ingest")


@pytest.mark.feeds("courses", "market", "shop", "tickets")
def test_raw_and_api_are_enough_of_a_backup(
    built: dict[str, str], restored: Callable[..., dict[str, str]], token: str
) -> None:
    copy = restored("part", "raw", "api")
    assert "0 loaded (0 rows, 0 lines rejected), 76 known" in succeed(copy, "bin/ingest")
    build = ("build", "--exclude-resource-type", "test", "unit_test", "--select", "+course_engagement")
    succeed(copy, "bin/dbt", "--quiet", *build)
    assert differences(built, copy) == []
    assert query(copy | AS_READER, "select count(*) from marts.course_engagement") == query(
        built, "select count(*) from marts.course_engagement"
    )
    assert query(copy | AS_API, f"select token_name from api.admit(sha256('{token}'))") == [("trial",)]
