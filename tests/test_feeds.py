"""Feeds can be taken out: bin/feed removes each of them, and all, and what stays works. The core names none of them."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import (
    DBT,
    MODELS_ONLY,
    NO_FEED,
    ROOT,
    Database,
    copy_of_project,
    fetch,
    free_port,
    needs_sample,
    scratch_directory,
)
from copies import apart, differences
from granary import declared, feed

FEEDS, SPANNING = declared.feeds(), declared.spanning_groups()
UNITS = declared.units()
NEEDED_BY = {"tickets": SPANNING, "kulisse": SPANNING}  # what has to go with a feed
RUN_TIMEOUT = 900  # seconds, for a whole run of an orchestrator on a machine that may be busy
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
# Where feeds may be named: in what is written about the sample data, and in what tries and makes it.
MAY_NAME_FEEDS = ("docs/", "tests/", "benchmarks/", "data/", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
# Names of a feed or of a model that are ordinary words where they stand: file, word, reason.
ORDINARY: set[tuple[str, str, str]] = set()


class Tree:
    """A copy of the project, and a database for it."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root, self.database = copy_of_project(root), database
        self.environment = {"DBT_TARGET_PATH": str(root / "dbt" / "target"), "GRANARY_DATA": ""}

    def run(self, *command: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run a command of the copy."""
        return self.database.run(*command, root=self.root, env=self.environment, **kwargs)

    def succeed(self, *command: str, **kwargs: object) -> str:
        """Run a command of the copy, which must succeed, and return its output."""
        done = self.run(*command, **kwargs)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def remove(self, *arguments: str, answer: str | None = None) -> str:
        """Run bin/feed remove, which must succeed, and return its output."""
        given = {"input": answer} if answer else {"stdin": subprocess.DEVNULL}
        done = self.run("bin/feed", "remove", *arguments, **given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """Run bin/feed, which must fail, and return its error."""
        done = self.run("bin/feed", *arguments, stdin=subprocess.DEVNULL)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    def files(self) -> dict[str, bytes]:
        """Return the project's files with their content."""
        names = [path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        made = (".venv", ".git", "target", "logs")
        return {str(path.relative_to(self.root)): path.read_bytes() for path in names if not set(made) & {*path.parts}}

    def commit(self) -> None:
        """Make the copy a git repository in which everything is committed."""
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
            subprocess.run([*GIT, *command], cwd=self.root, check=True)


@pytest.fixture
def new_tree(new_database: Callable[..., Database]) -> Iterator[Callable[..., Tree]]:
    """Give a function that copies the project, with a fresh database or a copy of one."""
    with scratch_directory() as directory:

        def create(template: Database | None = None) -> Tree:
            return Tree(directory / "a copy", new_database(template))

        yield create


def relations_of(database: Database, *names: str) -> list[tuple]:
    """Return the relations outside of PostgreSQL's own schemas that have one of the names."""
    query = "select table_schema, table_name from information_schema.tables where table_name ~ %s"
    return database.query(query, [f"^({'|'.join(names)})$"])


def models_of(*feeds: str) -> set[str]:
    """Return the names of the models and seeds of feeds."""
    folders = [ROOT / part.format(name) for name in feeds for part in (*feed.MODELS, "dbt/seeds/{}")]
    return {path.stem for folder in folders for path in folder.rglob("*") if path.suffix in (".sql", ".csv")}


# -- The core and the registry -----------------------------------------------------------------------------------------


def test_no_file_of_the_core_names_a_feed_or_its_models() -> None:
    words = "|".join([*FEEDS, *(f"{name}__\\w+" for name in FEEDS), *models_of(*UNITS)])
    own = tuple(part.format(name) for name in UNITS for part in feed.PARTS)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = set()
    for name in listed.splitlines():
        if name.startswith((*MAY_NAME_FEEDS, *own)) or not (ROOT / name).is_file():
            continue
        text = (ROOT / name).read_bytes().decode(errors="replace")
        if name == feed.PROJECT_FILE:
            text = feed.REGISTRY.sub("", text)
        found |= {(name, word) for word in re.findall(rf"\b(?:{words})\b", text)} if FEEDS else set()
    found -= {(name, word) for name, word, _ in ORDINARY}
    assert not found, "\n".join(f"{name}: {word}" for name, word in sorted(found))


def test_the_registry_is_what_the_sources_declare() -> None:
    assert not feed.write_registry(check=True), "run bin/feed sync"


def test_the_registry_follows_the_sources_and_nothing_else_changes(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    before = tree.files()
    source = tree.root / "dbt/models/staging/zoo/_zoo__sources.yml"
    source.parent.mkdir()
    source.write_text(
        "sources: [{name: zoo, loader: bin/ingest, schema: raw, tables: [{name: animals, identifier: zoo__animals,"
        " config: {meta: {current_version: {model: int_zoo__animals, key: [id]},"
        " amounts: [{measure: food, title: Food, delivered: '{id}', staged: '{id}',"
        " marts: [{mart: fct_food}, {mart: fct_food}]}]}}, columns: [{name: id}]}]}]"
    )
    assert "run bin/feed sync" in tree.refused("sync", "--check")
    assert "table animals, meta: there is no model int_zoo__animals" in tree.refused("sync")
    for model in ("int_zoo__animals", "fct_food"):
        (source.parent / f"{model}.sql").touch()
    shutil.copy(ROOT / feed.PROJECT_FILE, tree.root / feed.PROJECT_FILE)
    assert "was written" in tree.succeed("bin/feed", "sync")
    registry = "    zoo:\n      animals: [int_zoo__animals, fct_food]\n"
    assert registry in (tree.root / feed.PROJECT_FILE).read_text()
    assert "is up to date" in tree.succeed("bin/feed", "sync", "--check")
    file = tree.root / feed.PROJECT_FILE
    written = file.read_text()
    file.write_text(odd := written.replace("    zoo:", "  # a comment\n    zoo:"))
    assert "can't be replaced safely" in tree.refused("sync")
    assert file.read_text() == odd
    file.write_text(written)
    shutil.rmtree(source.parent)
    tree.succeed("bin/feed", "sync")
    assert tree.files() == before


ZOO = (
    "sources: [{name: zoo, loader: bin/ingest, schema: raw, tables: [{name: animals, identifier: zoo__animals, config:"
    " {meta: META}, columns: [{name: id, config: {meta: {parse: , default: , required: , must: }}}, {name: name,"
    " config: {meta: }}]}]}]"
)


def test_a_column_that_begins_with_a_digit_is_read_like_any_other(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    for path, text in {
        "dbt/models/staging/zoo/_zoo__sources.yml": """
            sources:
              - name: zoo
                loader: bin/ingest
                schema: raw
                tables:
                  - name: animals
                    identifier: zoo__animals
                    columns:
                      - {name: id, config: {meta: {required: true}}}
                      - {name: 2nd_keeper, config: {meta: {default: nobody}}}
                      - {name: 3rd_meal, config: {meta: {parse: amount, must: "{3rd_meal} > 0"}}}
        """,
        "dbt/models/staging/zoo/stg_zoo__animals.sql": "{{ safe_rows('zoo', 'animals') }}",
        "data/incremental/zoo/animals/1.csv": "ID,2nd Keeper,3rd Meal\na,,1.50\nb,Ann,-1\n,Bob,2\n",
    }.items():
        (tree.root / path).parent.mkdir(parents=True, exist_ok=True)
        (tree.root / path).write_text(text)
    tree.succeed("bin/feed", "sync")
    tree.succeed("bin/ingest", "zoo")
    tree.succeed("bin/dbt", "run", "--select", "stg_zoo__animals", "stg_ledger__rejected_values")
    query = tree.database.query
    assert query('select id, "2nd_keeper", "3rd_meal"::text from staging.stg_zoo__animals order by id') == [
        ("a", "nobody", "1.50"),
        ("b", "Ann", None),
    ]
    assert query("select column_name, delivered_value, reason from staging.stg_ledger__rejected_values order by 1") == [
        ("3rd_meal", "-1", "invalid"),
        ("id", "", "missing_required"),
    ]


def test_a_meta_that_can_not_be_read_is_named(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    source = tree.root / "dbt/models/staging/zoo/_zoo__sources.yml"
    source.parent.mkdir()
    invalid = "staging/zoo/_zoo__sources.yml: table animals, not a valid meta: `current_version` needs a `model`"
    version = "current_version: {model: int_zoo__animals}"
    for meta in ("current_version: {key: [id]}", f"{version}, amounts: [food]", f"{version}, amounts: [{{marts: }}]"):
        source.write_text(ZOO.replace("META", f"{{{meta}}}"))
        assert invalid in tree.refused("sync")
        done = tree.run(*DBT, "run", "--select", "build_log")
        assert invalid in done.stderr, meta


def test_an_empty_meta_is_none(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    source = tree.root / "dbt/models/staging/zoo/_zoo__sources.yml"
    source.parent.mkdir()
    (source.parent / "stg_zoo__animals.sql").write_text("{{ safe_rows('zoo', 'animals') }}")
    (delivered := tree.root / "data/initial/zoo/animals.csv").parent.mkdir()
    delivered.write_text("id,name\n1,Nala\n")
    for meta in ("", "{amounts: , current_version: }"):
        source.write_text(ZOO.replace("META", meta))
        tree.succeed("bin/feed", "sync")
        assert "\n    zoo:\n      animals: []\n" in (tree.root / feed.PROJECT_FILE).read_text()
        tree.succeed("bin/ingest", "zoo")
        tree.succeed(*DBT, "run", "--select", "stg_zoo__animals")
        assert tree.database.query("select name from staging.stg_zoo__animals") == [("Nala",)]


# -- Broken declarations -----------------------------------------------------------------------------------------------


@needs_sample
def test_a_typo_in_a_declaration_costs_its_feed_and_nothing_for_good(
    new_tree: Callable[..., Tree], sample: Database
) -> None:
    tree = new_tree(sample)
    staging = tree.root / "dbt" / "models" / "staging"
    typos = {
        "courses": ("- name: is_gov_employee", "- name: xmin"),
        "market": ('must: "{price_date} =', 'must: "{price_date} = ='),
        "shop": ("{quantity} <> 0", "{quantty} <> 0"),
    }
    sound = {name: (staging / name / f"_{name}__sources.yml").read_text() for name in typos}
    for name, (right, wrong) in typos.items():
        assert right in sound[name]
        (staging / name / f"_{name}__sources.yml").write_text(sound[name].replace(right, wrong, 1))
    header, *_ = (tree.root / "data/initial/shop/orders.csv").read_text().splitlines()
    (tree.root / "data/incremental/shop/orders/typo.csv").write_text(
        f"{header}\no_9,c_001,p_01,zero,5,,2026-02-05,placed\n"
    )
    header, *_ = (tree.root / "data/initial/tickets/orders.csv").read_text().splitlines()
    (tree.root / "data/incremental/tickets/orders/typo.csv").write_text(
        f"{header}\no_9,a_0001,s_001,0001-01-01T00:00:00+02:00,5\n"
    )
    tree.succeed("bin/ingest", "shop", "tickets")

    broken = tree.run("bin/dbt", "build", *MODELS_ONLY)
    assert broken.returncode == 1
    for said in (
        "_courses__sources.yml: table users, column xmin: not a name that a column can have",
        "_market__sources.yml: table coin_price_history, column price_date: the condition `must: {price_date} = =",
        "_shop__sources.yml: table orders, column quantity: `must` names {quantty}",
    ):
        assert f"error: dbt/models/staging/{said[1:].split('__')[0]}/{said}" in broken.stderr
    assert "Traceback" not in broken.stdout + broken.stderr
    assert tree.database.query("select distinct feed from marts.money_reconciliation") == [("tickets",)]
    assert not {*typos} & {feed for (feed,) in tree.database.query("select distinct feed from marts.batch_usage")}
    rejected = "select feed, delivered_value from marts.rejected_rows where file_path like '%/typo.csv' order by 1"
    assert tree.database.query(rejected) == [("tickets", "0001-01-01T00:00:00+02:00")]

    assert "courses can't be used: " in tree.succeed("bin/feed", "list")

    for name, text in sound.items():
        (staging / name / f"_{name}__sources.yml").write_text(text)
    tree.succeed(*DBT, "build", *MODELS_ONLY)
    assert tree.database.query(rejected) == [("shop", "zero"), ("tickets", "0001-01-01T00:00:00+02:00")]
    second = apart(tree.environment["DBT_TARGET_PATH"])
    rebuilt = tree.database.run(*DBT, "build", *MODELS_ONLY, root=tree.root, env=tree.environment | second)
    assert rebuilt.returncode == 0, rebuilt.stdout
    assert differences(tree.database) == []

    (staging / "zoo").mkdir()
    (staging / "zoo" / "_zoo__sources.yml").write_text(ZOO.replace("META", ""))
    tree.succeed("bin/feed", "sync")
    early = tree.run(*DBT, "run", "--select", "+rejected_rows")
    assert "error: raw.zoo__animals doesn't exist yet: run bin/ingest, which creates it" in early.stderr
    assert (early.returncode, early.stdout) == (1, "")


# -- Taking feeds out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEEDS or [NO_FEED])
def test_without_a_feed_the_others_build(name: str, new_tree: Callable[..., Tree], sample: Database) -> None:
    tree = new_tree(sample)
    removed = [name, *NEEDED_BY.get(name, [])]
    if removed != [name]:
        refused = tree.refused("remove", name, "--yes", "--force")
        assert f"Or take out what they belong to, too:  bin/feed remove {' '.join(removed)}\n" in refused
    assert f"bin/feed remove {' '.join(removed)} --drop-data" in tree.remove(*removed, "--yes", "--force")
    assert declared.feeds(tree.root / "dbt" / "models") == [other for other in FEEDS if other not in removed]
    tree.succeed("bin/ingest")
    # The sample makes tests warn on purpose; dbt itself must not warn. Other feeds refer to nothing of this one, as dbt
    # sees when it parses them; the core reads all feeds.
    build = ("--warn-error-options", '{"error": "all", "warn": ["LogTestResult"]}', "build")
    tree.succeed("bin/dbt", "--quiet", *build, "--select", "group:core", "--exclude-resource-type", "unit_test")


def test_without_any_feed_make_says_what_there_is(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    if FEEDS:
        assert "--drop-data" not in tree.remove(*UNITS, "--yes", "--force"), "there is no data yet"
    for folder in sorted(tree.root.rglob("*"), reverse=True):  # git keeps no empty ones
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    said = tree.succeed("make", "--no-print-directory", "-C", str(tree.root))
    assert "0 files: 0 loaded" in said
    assert "no feeds yet" in said
    assert (tree.root / "output" / "quality_report.html").exists()
    assert "no feeds yet" in tree.succeed("bin/feed", "list")
    assert "load_audit" in tree.succeed("bin/report", "--list")
    tree.succeed("bin/warehouse", "roles")
    for command, path, expected in (
        ("bin/api", "/api/v1/health", b'"status": "ok"'),
        ("bin/dashboard", "/_stcore/health", b"ok"),
    ):
        address = f"http://127.0.0.1:{(port := free_port())}{path}"
        with tree.database.start(tree.root / command, "--port", port, env=tree.environment) as server:
            assert expected in fetch(address, server)
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
    tests = tree.run("scripts/in_venv.sh", "pytest", "tests", "--collect-only", "--quiet", "-n0", cwd=tree.root)
    assert tests.returncode == 0, tests.stdout + tests.stderr


@pytest.mark.orchestration
def test_without_any_feed_dagster_runs(new_tree: Callable[..., Tree], tmp_path: Path) -> None:
    tree = new_tree()
    if FEEDS:
        tree.remove(*UNITS, "--yes", "--force")
    tree.environment["DAGSTER_HOME"] = str(tmp_path)
    assert ": passed" in tree.succeed("bin/dagster", "run", timeout=RUN_TIMEOUT)


@pytest.mark.orchestration
def test_without_any_feed_airflow_runs(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    if FEEDS:
        tree.remove(*UNITS, "--yes", "--force")
    (tree.root / ".venv-airflow").symlink_to(ROOT / ".venv-airflow")
    said = tree.succeed("bin/airflow", "run", timeout=RUN_TIMEOUT)
    assert len(re.findall(r"^dbt (?:build|test): .*: all passed$", said, re.MULTILINE)) == 4, said
    assert "does not match" not in said


# -- bin/feed remove ---------------------------------------------------------------------------------------------------


@pytest.mark.feeds("shop")
def test_what_is_removed_can_be_seen_before_and_brought_back(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    tree.commit()
    before = tree.files()
    assert "nothing was changed" in tree.remove("shop", "--dry-run")
    assert tree.run("bin/feed", "remove", "shop", input="n\n").returncode == 1
    assert tree.files() == before
    said = tree.remove("shop", answer="y\n")
    after = tree.files()
    assert after.keys() == {name for name in before if "/shop/" not in name and not re.search(r"/shop\.(md|py)$", name)}
    assert {name for name in after if after[name] != before[name]} <= {feed.PROJECT_FILE, feed.PLANTED}
    (undo,) = re.findall(r"git restore .*", said)
    subprocess.run(undo, shell=True, cwd=tree.root, check=True)
    assert tree.files() == before


@pytest.mark.feeds("shop")
def test_what_git_can_not_bring_back_is_said_before_and_not_promised(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    tree.commit()
    planted = tree.root / feed.PLANTED
    with planted.open("a") as file:
        file.write("initial/shop/orders.csv,9,mine\n")
    assert " M data/planted.csv" in tree.refused("remove", "shop", "--yes")
    done = tree.run("bin/feed", "remove", "shop", "--force", input="n\n")
    assert re.search("could not bring these files back.*\n.*planted.csv\n(.*\n)*Remove shop", done.stdout)
    planted.write_text("".join(line for line in planted.read_text().splitlines(True) if "/shop/" not in line))
    said = tree.remove("shop", "--yes", "--dry-run")  # none of its lines is left, so nothing of the file gets lost
    assert "could not" not in said
    (tree.root / "dbt/models/marts/shop/mine.sql").write_text("select 1")
    said = tree.remove("shop", "--yes", "--force")
    assert "could not bring these files back" in said
    assert "git restore" not in said


@pytest.mark.feeds("shop", "tickets")
def test_what_can_not_be_removed_is_refused(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    tree.commit()
    assert tree.refused("remove", "shp", "--yes") == "error: unknown feed shp: did you mean shop?\n"
    assert tree.refused("remove", "quality", "--yes") == "error: unknown feed quality: see bin/feed list\n"
    batch = tree.root / "data/incremental/shop/orders/batch_900.csv"
    batch.write_text("order_id\n")
    assert "batch_900.csv" in tree.refused("remove", "shop", "--yes")
    assert batch.exists()
    batch.unlink()
    for name, content in (
        ("theirs.sql", "select * from {{ ref('fct_daily_sales') }}"),
        ("theirs.sql", "select * from {{ ref( 'granary', \"fct_daily_sales\") }}"),
        ("theirs.sql", "select * from {{ ref ('fct_daily_sales') }}"),
        ("theirs.sql", "select * from {{ source ('shop', 'orders') }}"),
        ("theirs.sql", "select {{ line_value ('a', 'b', 'c') }}"),
        ("theirs.yml", "sources: [{name: theirs, meta: {amounts: [{marts: [{mart: fct_daily_sales}]}]}}]"),
        ("theirs.yml", "sources: [{name: theirs, meta: {amounts: [{marts: [{'without': 'fct_daily_sales'}]}]}}]"),
        ("theirs.yaml", "sources: [{name: theirs, meta: {amounts: [{staged: {macro: line_value}}]}}]"),
        ("theirs.yml", "sources: [{name: theirs, meta: {current_version: {model: int_shop__customers}}}]"),
        ("theirs.yml", "models: [{name: theirs, meta: {dashboard: {names: {x_id: product_performance.name}}}}]"),
    ):
        other = tree.root / "dbt/models/marts/tickets" / name
        other.write_text(content)
        assert f"dbt/models/marts/tickets/{name}: " in tree.refused("remove", "shop", "--yes"), content
        other.unlink()
    before = tree.files()
    (tree.root / ".git").rename(tree.root / "no git")
    assert "not a git repository" in tree.refused("remove", "shop", "--yes")
    (tree.root / "no git").rename(tree.root / ".git")
    assert tree.files() == before


@pytest.mark.feeds("shop")
def test_dropped_data_loads_again_and_costs_no_other_feed_anything(
    new_tree: Callable[..., Tree], sample: Database
) -> None:
    tree = new_tree(sample)
    tree.commit()
    tree.database.query("create schema own; create view own.orders as select * from raw.shop__orders")
    tree.database.query("create table raw.shop__mine as select * from raw.shop__orders; create table raw.mine__x ()")
    others = "select * from raw._batches where feed <> 'shop' order by batch_id"
    before = tree.database.query(others)
    said = tree.remove("shop", "--yes")
    tree.succeed(*DBT, "build", *MODELS_ONLY)
    assert relations_of(tree.database, "shop__.*", *models_of("shop")) != []
    assert "own.orders" in tree.remove("shop", "--drop-data", answer="y\n")
    assert relations_of(tree.database, "shop__.*", *models_of("shop")) == [("raw", "shop__mine")]
    assert tree.database.query(others) == before
    tree.succeed(*DBT, "build", "--full-refresh", "--select", "group:core")
    assert tree.database.query("select count(*) from marts.rejected_rows where feed = 'shop'") == [(0,)]
    assert tree.refused("remove", "shop", "--drop-data") == "error: unknown feed shop: see bin/feed list\n"
    subprocess.run(re.findall(r"git restore .*", said)[0], shell=True, cwd=tree.root, check=True)
    assert re.search(r"\b11 loaded", tree.succeed("bin/ingest"))


@pytest.mark.feeds("shop")
def test_a_server_that_can_not_be_reached_costs_only_what_it_knows(new_tree: Callable[..., Tree]) -> None:
    tree = new_tree()
    tree.environment["PGHOST"] = "127.0.0.1"
    tree.environment["PGPORT"] = "1"
    done = tree.run("bin/feed", "list")
    assert done.returncode == 0
    assert re.search(r"^  shop +3 +4$", done.stdout, re.MULTILINE)
    assert "can't tell what the database holds" in done.stderr
    assert "no PostgreSQL server can be reached" in tree.refused("remove", "shop", "--drop-data", "--force", "--yes")
    assert "removed shop" in tree.remove("shop", "--force", "--yes")
