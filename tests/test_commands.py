"""The commands: they explain themselves, work from anywhere, and say what is wrong in words."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Database, copy_of_project, run_command, wait_until
from granary import dbt
from granary.server.connection import connect
from granary.server.lock import take_lock

COMMANDS = sorted(path.relative_to(ROOT) for path in (ROOT / "bin").iterdir())
INTERRUPTED = "interrupted: the models that were being built are as they were before"
SCRIPTS = ["scripts/setup.sh", "scripts/in_venv.sh", "scripts/reset.sh", "scripts/summary.sh"]


@pytest.mark.parametrize("command", [*map(str, COMMANDS), *SCRIPTS])
def test_help_names_the_command_and_succeeds(command: str) -> None:
    done = run_command(command, "--help", cwd="/")
    assert done.returncode == 0, done.stderr
    assert f"usage: {command}" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["bin/warehouse", "scripts/setup.sh", "scripts/reset.sh", "scripts/summary.sh"])
def test_an_unknown_argument_is_refused(command: str) -> None:
    done = run_command(command, "--no-such-thing")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z_]+):", text, flags=re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE).group(1).split())
    listed = {line.split()[0] for line in make("help").stdout.splitlines()}
    assert listed - {"<feed>"} == targets == phony
    asked_for = "help setup up down ingest dbt_deps dbt_run dbt_test docs lint test soak reset clean psql summary"
    assert set(asked_for.split()) <= listed


def test_make_works_from_any_directory(tmp_path: Path) -> None:
    clone = tmp_path / "it's a  clone"
    clone.mkdir()
    shutil.copy(ROOT / "Makefile", clone)
    expected = make("help").stdout
    for arguments in (["-C", clone], ["-f", clone / "Makefile"]):
        done = run_command("make", "--no-print-directory", *arguments, "help", cwd="/")
        assert (done.returncode, done.stdout) == (0, expected), done.stderr


@pytest.mark.parametrize("command", [*map(str, COMMANDS)])
def test_a_command_before_setup_says_what_to_do(command: str, tmp_path: Path) -> None:
    for directory in ("bin", "scripts"):
        shutil.copytree(ROOT / directory, tmp_path / "a clone" / directory)
    done = run_command(command, "status", root=tmp_path / "a clone")
    assert done.returncode == 1
    assert f'make -C "{tmp_path}/a clone" setup' in done.stderr


def test_a_command_works_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "warehouse"
    link.symlink_to(ROOT / "bin" / "warehouse")
    done = subprocess.run([link, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_setup_refuses_a_python_that_does_not_fit(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    done = run_command("scripts/setup.sh", root=tmp_path, env={"PYTHON": str(old)})
    assert done.returncode == 1
    assert done.stderr == f"error: PYTHON={old} is not a working Python 3.10 to 3.13\n"
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("works", [True, False], ids=["with uv", "without"])
def test_setup_installs_with_uv_or_else_with_pip(works: bool, tmp_path: Path) -> None:
    for name in ("scripts", "requirements", "programs"):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    (tmp_path / "requirements.txt").touch()  # nothing, so that neither needs a network
    (tmp_path / "requirements" / "other.txt").touch()
    (uv := tmp_path / "programs" / "uv").write_text(f'#!/bin/sh\necho "$@" >>asked\nexit {0 if works else 1}\n')
    uv.chmod(0o755)
    no_index = dict.fromkeys(("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"), "")
    path = {"PATH": f"{uv.parent}:{os.environ['PATH']}", "PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull}
    path |= no_index
    done = run_command("scripts/setup.sh", root=tmp_path, env=path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    options = f"--quiet --compile-bytecode --python {tmp_path}/.venv/bin/python"
    asked = f"pip install {options} --requirement {tmp_path}/requirements.txt\n"
    assert (tmp_path / "asked").read_text() == asked
    assert ("so pip does" in done.stdout) == (not works)
    stamp = tmp_path / ".venv" / "granary-requirements.txt"
    assert stamp.exists()

    internal = {"PIP_EXTRA_INDEX_URL": "http://127.0.0.1:9/simple"}  # which uv would not ask
    for place, settings in ((uv, internal), (tmp_path / ".venv" / "bin" / "uv", {}), (None, internal)):
        uv = uv.rename(place) if place else uv  # the environment's own
        stamp.unlink()
        (tmp_path / "asked").write_text("")
        done = run_command("scripts/setup.sh", root=tmp_path, env=path | settings, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "asked").read_text() == ("" if settings else asked)


def test_lint_checks_what_has_changed_since_it_passed(database: Database, tmp_path: Path) -> None:
    root = copy_of_project(tmp_path / "project")
    for folder in ("models", "seeds", "tests"):
        shutil.rmtree(root / "dbt" / folder)
    (models := root / "dbt" / "models").mkdir()
    (models / "first.sql").write_text("select 1 as one\n")
    (models / "second.sql").write_text("select 2 as two\n")

    def lint() -> subprocess.CompletedProcess[str]:
        target = {"DBT_TARGET_PATH": str(tmp_path / "target")}
        return database.run("scripts/in_venv.sh", "granary.lint", env=target, root=root)

    first = lint()
    assert first.returncode == 0, first.stdout + first.stderr
    assert "sqlfluff: 2 files of 2 to check\n" in first.stdout
    (models / "second.sql").write_text("SELECT 2 as two\n")
    for _ in range(2):  # what fails isn't forgotten
        failed = lint()
        assert failed.returncode == 1
        assert "sqlfluff: 1 file of 2 to check\n" in failed.stdout
        assert "second.sql" in failed.stdout
        assert "first.sql" not in failed.stdout


# -- bin/dbt -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a small dbt project of its own, with a model that builds and one that doesn't."""
    (tmp_path / "models").mkdir()
    settings = (
        "name: trial\nprofile: granary\nflags: {send_anonymous_usage_stats: false}\nmodels: {+materialized: table}"
    )
    (tmp_path / "dbt_project.yml").write_text(settings)
    (tmp_path / "models" / "good.sql").write_text("select current_setting('transaction_isolation') as level")
    (tmp_path / "models" / "bad.sql").write_text("select 1 / 0 as level")
    return tmp_path


def test_dbt_keeps_its_exit_code_and_its_words(database: Database, project: Path) -> None:
    arguments = ["build", "--project-dir", project, "--select"]
    for bar in ([], ["--bar"]):
        done = database.run("bin/dbt", *bar, *arguments, "good", cwd="/")
        assert done.returncode == 0, done.stdout
        failed = database.run("bin/dbt", *bar, *arguments, "bad")
        assert failed.returncode == 1
        assert "division by zero" in failed.stdout
        assert database.run("bin/dbt", *bar, "build", "--no-such-option").returncode == 2
        assert "\x1b" not in failed.stdout  # no colours in a file
    assert re.search(r"^dbt build: 1 model in \d+ s: 1 failed$", failed.stdout, flags=re.MULTILINE)
    assert database.query("select level from staging.good") == [("repeatable read",)]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("build --select clean", "build"),
        ("--quiet ls --select clean", "ls"),
        ("--log-level warn build", "build"),
        ("--log-level=warn --no-use-colors test -s run", "test"),
        ("docs generate", "docs"),
        ("--version", ""),
        ("--no-such-option run", ""),
    ],
)
def test_the_command_of_dbt_is_its_first_word_that_is_no_value_of_an_option(arguments: str, command: str) -> None:
    assert dbt.command_of(arguments.split()) == command


def test_a_word_that_is_also_a_command_is_a_name_like_any_other(database: Database, project: Path) -> None:
    (project / "models" / "clean.sql").write_text("select 1 as one")
    arguments = ("--quiet", "ls", "--project-dir", project, "--select", "build", "clean")
    with contextlib.closing(connect()) as loader:
        take_lock(loader, "load of a file")
        done = database.run("bin/dbt", *arguments, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "trial.clean\n", ""), "it must not wait for the lock"


def test_the_bar_can_be_asked_for_anywhere(database: Database, project: Path) -> None:
    for arguments in (["build", "--bar"], ["--no-version-check", "--bar", "build"]):
        done = database.run("bin/dbt", *arguments, "--project-dir", project, "--select", "good")
        assert re.fullmatch(r"dbt build: 1 model in \d+ s: all passed\n", done.stdout)


def test_a_run_before_the_seeds_says_so(database: Database, project: Path) -> None:
    seed = next((ROOT / "dbt" / "seeds").rglob("*.csv"), None)
    if seed is None:
        pytest.skip("no feed has a seed")
    (project / "models" / "reads_seed.sql").write_text(f"select * from staging.{seed.stem}")
    done = database.run("bin/dbt", "run", "--project-dir", project, "--select", "reads_seed")
    assert done.returncode == 1
    expected = f"not loaded yet: {seed.stem}; run bin/dbt seed first, or bin/dbt build, which does both"
    assert done.stdout.splitlines()[-1] == expected
    other = database.run("bin/dbt", "run", "--project-dir", project, "--select", "bad")
    assert "not loaded yet" not in other.stdout


def test_dbt_waits_for_a_load_that_is_running(database: Database, project: Path) -> None:
    command = ("bin/dbt", "--bar", "run", "--project-dir", project, "--select", "good")
    with contextlib.closing(connect()) as loader:
        take_lock(loader, "load of a file")
        with database.start(*command) as build:
            said = build.stderr.readline()
            assert said.startswith("waiting for a load or build that is running (pid ")
            assert said.endswith(", granary: load of a file) ...\n")
            with pytest.raises(subprocess.TimeoutExpired):
                build.wait(0.3)
            loader.close()
            build.communicate(timeout=60)
        assert build.returncode == 0


def test_a_wait_can_be_interrupted(database: Database, project: Path) -> None:
    with contextlib.closing(connect()) as loader:
        take_lock(loader, "load of a file")
        with database.start("bin/dbt", "run", "--project-dir", project) as build:
            build.stderr.readline()
            build.send_signal(signal.SIGINT)
            assert build.communicate(timeout=20)[1] == ""
        assert build.returncode == 130


def test_a_build_that_has_lost_the_lock_stops(database: Database, project: Path) -> None:
    (project / "models" / "slow.sql").write_text("select pg_sleep(60)::text as slow")
    command = ("bin/dbt", "--bar", "run", "--project-dir", project, "--select", "slow")
    running = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(60)::text%'"
    running += " and pid <> pg_backend_pid()"
    end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'granary: dbt run'"
    with database.start(*command) as build:
        wait_until(lambda: database.query(running) != [(0,)], build)
        assert database.query(end) == [(1,)]
        out, errors = build.communicate(timeout=20)
        assert (build.returncode, out) == (1, "")
        assert "error: the server has ended the session that holds the lock of loads and builds" in errors
    wait_until(lambda: database.query(running) == [(0,)], seconds=20)
    assert database.query("select to_regclass('staging.slow')") == [(None,)]


def test_a_build_can_be_interrupted(database: Database, project: Path) -> None:
    (project / "models" / "slow.sql").write_text("select pg_sleep(60)::text as slow")
    command = ("bin/dbt", "--bar", "run", "--project-dir", project, "--select", "slow")
    running = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(60)::text%'"
    running += " and pid <> pg_backend_pid()"
    with database.start(*command) as build:
        wait_until(lambda: database.query(running) != [(0,)], build)
        build.send_signal(signal.SIGINT)
        assert build.communicate(timeout=20) == ("", f"\n{INTERRUPTED}\n")
    assert build.returncode == 130
    wait_until(lambda: database.query(running) == [(0,)], seconds=10)  # the server has noticed, too


def test_the_stand_ins_help_where_the_hub_can_not_be_reached() -> None:
    unreachable = {"DBT_PACKAGE_HUB_URL": "http://127.0.0.1:1/"}
    done = run_command("bin/dbt", "deps", env=unreachable)
    assert done.returncode == 0, done.stderr
    assert "the dbt hub can't be reached" in done.stdout


def test_deps_never_deletes_the_stand_ins() -> None:
    done = run_command("bin/dbt", "deps", env={"DBT_PACKAGES_INSTALL_PATH": "offline_packages"})
    assert done.returncode == 0, done.stderr
    assert "the stand-ins in dbt/offline_packages" in done.stdout
    assert (ROOT / "dbt" / "offline_packages" / "dbt_utils" / "dbt_project.yml").exists()


def make(target: str) -> subprocess.CompletedProcess[str]:
    """Run make on the project."""
    return run_command("make", "--no-print-directory", "-C", ROOT, target)
