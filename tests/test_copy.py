"""Copies: a past state equals what was built then, other circumstances count, and the warehouse never changes."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg2 import sql

from conftest import DBT, MODELS_ONLY, Database, run_command, start_command, wait_until
from own_feed import FILES, HEADER, copy_with_own_feed

pytestmark = pytest.mark.long

MERGES = """
      - name: merges
        identifier: bar__merges
        config: {meta: {merges: {from: old_id, to: new_id, at: decided_at, ignored_in: ignored}}}
        columns:
          - {name: old_id, config: {meta: {required: true}}}
          - {name: new_id, config: {meta: {required: true}}}
          - {name: decided_at, config: {meta: {parse: timestamp, required: true}}}
"""
SOURCES, MART, SEED = "staging/bar/_bar__sources.yml", "dbt/models/marts/bar/fct_bar_sales.sql", "dbt/seeds/bar/ignored"
FEED = FILES | {
    SOURCES: FILES[SOURCES].rstrip("\n") + MERGES,
    "staging/bar/stg_bar__merges.sql": "{{ config(group='bar') }}\n{{ safe_rows('bar', 'merges') }}\n",
    "marts/bar/fct_bar_merges.sql": """
select old_id, new_id, max(decided_at) as decided_at from {{ ref('stg_bar__merges') }}
where not exists (
    select 1 from {{ ref('ignored') }} as ignored
    where ignored.old_id = stg_bar__merges.old_id and ignored.new_id = stg_bar__merges.new_id
)
group by old_id, new_id
""",
    "marts/bar/fct_bar_merges.yml": """
models:
  - name: fct_bar_merges
    config: {group: bar}
    columns:
      - {name: old_id, data_type: string}
      - {name: new_id, data_type: string}
      - {name: decided_at, data_type: timestamp}
""",
    "marts/bar/fct_bar_sales.yml": FILES["marts/bar/fct_bar_sales.yml"].replace(
        "    columns:", "    constraints: [{type: primary_key, columns: [sale_id]}]\n    columns:"
    ),
}
SEEDS = """
seeds:
  - name: ignored
    config: {group: bar, column_types: {old_id: text, new_id: text, reason: text}}
    columns: [{name: reason, data_tests: [not_null]}]
"""
ABOUT_BUILDS = ("_watermarks", "_rules", "_last_build", "build_log", "table_log")


class Bar:
    """A copy of the project whose only feed is `bar`, and a warehouse with a history."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root, self.database = root, database
        self.target = root / "dbt" / "target"
        self.environment = database.environment | {"DBT_TARGET_PATH": str(self.target)}
        self.builds: list[str] = []
        copy_with_own_feed(root, self.run, FEED)
        self.write(f"{SEED}.csv", "old_id,new_id,reason\nx,y,a mistake\n")
        self.write("dbt/seeds/bar/_bar__seeds.yml", SEEDS)

    def run(self, *command: str, env: dict[str, str] | None = None) -> str:
        done = run_command(*command, root=self.root, env=self.environment | (env or {}))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def error(self, *command: str) -> str:
        done = run_command(*command, root=self.root, env=self.environment)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr.strip().splitlines()[-1].removeprefix("error: ")

    def query(self, statement: str | sql.Composable) -> list[tuple]:
        return self.database.query(statement)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def load(self, name: str, *lines: str, options: tuple[str, ...] = (), header: str = HEADER) -> None:
        self.write(f"data/incremental/bar/{name}.csv", "\n".join([header, *lines, ""]))
        self.run("bin/ingest", *options, *([f"bar/{name}"] if options else []))

    def build(self, *options: str) -> None:
        """Build, and keep what was built."""
        self.run(*DBT, "build", *MODELS_ONLY, *options)
        self.builds.append(self.query("select build_id from raw._builds order by started_at desc limit 1")[0][0])
        kept = f"kept_{len(self.builds)}"
        self.query(f"create schema {kept}")
        for schema, table in self.tables():
            self.query(f'create table {kept}."{table}" as select * from {schema}."{table}"')

    def tables(self) -> list[tuple[str, str]]:
        return self.query(
            "select table_schema, table_name from information_schema.tables"
            f" where table_schema in ('intermediate', 'marts') and table_name not in {ABOUT_BUILDS} order by 1, 2"
        )

    def different(self, kept: str, copy: str) -> list[tuple[str, int]]:
        """Return the tables of a copy in which a row differs from what was kept, and how many do."""
        found = []
        for schema, table in self.tables():
            one, other = f'{kept}."{table}"', f'copy_{copy}__{schema}."{table}"'
            ((rows,),) = self.query(
                f"select count(*) from ((select * from {one} except all select * from {other})"
                f" union all (select * from {other} except all select * from {one})) as different"
            )
            found += [(table, rows)] if rows else []
        return found

    def state(self) -> dict[str, object]:
        """Return what there is besides copies: each relation, with its file, its rights and its rows."""
        relations = self.query(
            "select nspname, relname, pg_class.oid, relfilenode, relacl::text, relkind, pg_get_userbyid(relowner)"
            " from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace"
            r" where relkind in ('r', 'v', 'S', 'i') and nspname !~ '^(copy_|pg_)' and nspname <> 'information_schema'"
        )
        found: dict[str, object] = {}
        for schema, name, *rest, kind, owner in relations:
            rows: object = None
            if kind != "i":
                query = "select count(*), md5(string_agg(rows::text, ',' order by rows::text)) from {} as rows"
                query = "select last_value, is_called from {}" if kind == "S" else query
                rows = self.database.query(sql.SQL(query).format(sql.Identifier(schema, name)))
            found[f"{schema}.{name}"] = [*rest, kind, owner, rows]
        return found


@pytest.fixture(scope="module")
def bar(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Bar:
    """A history: rejected lines and values, a correction, a batch replaced, a bad one accepted, and a file refused."""
    made = Bar(tmp_path_factory.mktemp("project") / "with bar", new_database())
    made.load(
        "sales/one", "1,2.25,2026-03-01,new", "2,3.5,2026-03-01", "3,5,2026-03-02,far too long", "4,1,2026-03-02,"
    )
    made.load("merges/one", "a,b,2026-03-01T10:00:00Z", header="old_id,new_id,decided_at")
    made.build()
    made.load("sales/two", "4,9,2026-03-03,more", "5,8,2026-03-03,")
    made.build()
    made.load("sales/three", "6,1,2026-03-04,", "7,dear,2026-03-04,", "8,cheap,2026-03-04,")
    made.build()
    made.run("bin/ingest", "--accept", batch_of(made, "three"), "--why", "these two were gifts")
    made.build()
    made.load("sales/one", "1,2.26,2026-03-01,new", "2,3.5,2026-03-01,", options=("--replace",))
    made.write("data/incremental/bar/sales/three.csv", f"{HEADER}\n9,9,2026-03-09,\n")  # refused
    assert run_command("bin/ingest", root=made.root, env=made.environment).returncode == 1
    made.build("--full-refresh")
    made.run(*DBT, "parse")
    return made


def batch_of(bar: Bar, name: str, status: str = "loaded") -> str:
    ((batch,),) = bar.query(
        "select max(batch_id) from raw._batches"
        f" where path ~ '/{name}.csv' and entity = 'sales' and status = '{status}'"
    )
    return str(batch)


@pytest.fixture(autouse=True)
def _drop_copies(bar: Bar) -> None:
    """Leave no copy behind."""
    yield
    if bar.query("select 1 from pg_class where relname = '_copy'"):
        bar.run("bin/copy", "drop", "*")
    assert bar.query(r"select nspname from pg_namespace where nspname ~ '^copy_'") == []
    assert list((bar.target / "copies").glob("*")) == []


def test_a_copy_as_of_each_build_equals_what_was_built_then(bar: Bar) -> None:
    before = bar.state()
    last = bar.query(
        "select (select max(batch_id) from raw._batches where finished_at < builds.started_at)"
        " from raw._builds as builds order by started_at"
    )
    assert len(last) == len(bar.builds) == 5
    for number, build in enumerate(bar.builds, 1):
        bar.run("bin/copy", "create", f"build_{number}", "--as-of", build[:13])
        assert bar.different(f"kept_{number}", f"build_{number}") == [], number
    bar.run("bin/copy", "create", "batch", "--as-of", str(*last[3]))  # which was accepted before the next one came
    assert bar.different("kept_4", "batch") == []
    assert bar.state() == before, "nothing of the warehouse has changed"
    listed = bar.run("bin/copy", "list")
    assert re.search(rf"build_2 +complete +{last[1][0]} .* --as-of {bar.builds[1][:13]}", listed)
    ((rejected,),) = bar.query("select count(*) from copy_build_1__marts.rejected_rows")
    assert rejected == 2
    assert bar.query("select distinct state from copy_build_3__marts.rejected_rows where file_path ~ 'three'") == [
        ("open",)
    ]
    replaced = batch_of(bar, "one", "replaced")
    status = "select status, replaced_by_batch_id from {}._batches where batch_id = " + replaced
    assert bar.query(status.format("copy_build_4__raw")) == [("loaded", None)]
    assert bar.query(status.format("copy_build_5__raw")) == bar.query(status.format("raw"))


def test_what_if(bar: Bar) -> None:
    before = bar.state()
    sales = "select sale_id, price from copy_a__marts.fct_bar_sales order by 1"
    merges = "select old_id, new_id from copy_a__marts.fct_bar_merges order by 1"
    only = ("--select", "fct_bar_sales", "--select", "fct_bar_merges")

    bar.run("bin/copy", "create", "a", "--without-batch", batch_of(bar, "two"), "--ignore-merge", "a:b", *only)
    assert [key for key, _ in bar.query(sales)] == ["1", "2", "6"], "4 was only in that and in what was replaced"
    assert bar.query("select count(*) from information_schema.tables where table_schema = 'copy_a__marts'") == [(2,)]
    assert bar.query(merges) == []
    assert bar.query("select old_id, reason from copy_a__staging.ignored order by 1") == [
        ("a", "bin/copy --ignore-merge"), ("x", "a mistake"),
    ]  # fmt: skip
    bar.run("bin/copy", "drop", "a")

    replacement = batch_of(bar, "one")
    bar.run("bin/copy", "create", "a", "--without-batch", replacement, "--merge", "b:c", "--merge", "d:e", *only)
    assert bar.query(sales)[:1] == [("1", 2.25)], "the replaced batch counts again"
    assert bar.query(merges) == [("a", "b"), ("b", "c"), ("d", "e")]
    assert bar.query(f"select count(*) from copy_a__raw._batches where batch_id = {replacement}") == [(0,)]
    bar.run("bin/copy", "drop", "a")

    bar.write("mine.csv", "reason,old_id,new_id\nwhy not,a,b\n")
    bar.run("bin/copy", "create", "a", "--seed", f"ignored={bar.root / 'mine.csv'}", *only)
    assert bar.query("select * from copy_a__staging.ignored") == [("why not", "a", "b")]
    (bar.root / "mine.csv").unlink()
    bar.run("bin/copy", "refresh", "a")
    assert bar.query(merges) == [], "the rows of the file are written down with the copy"
    bar.run("bin/copy", "drop", "a")

    bar.write("mine.csv", "old_id,new_id,reason\na,b,\n")
    done = run_command(
        "bin/copy", "create", "a", "--seed", f"ignored={bar.root / 'mine.csv'}", root=bar.root, env=bar.environment
    )
    assert done.returncode == 1 and "not_null_ignored_reason" in done.stdout + done.stderr
    assert re.search("a +unfinished", bar.run("bin/copy", "list"))
    assert bar.state() == before


def test_errors_name_what_is_wrong(bar: Bar) -> None:
    before = bar.state()
    bar.write("mine.csv", "old_id,reason\na,b\n")
    (bar.root / "latin.csv").write_bytes(b"old_id\n\xe9\n")
    ((first, day),) = bar.query("select batch_id, finished_at::date from raw._batches order by batch_id limit 1")
    for options, message in {
        (
            "--as-of",
            "2020-01-31",
        ): rf"nothing was loaded as of 2020-01-31: the first load, of batch {first}, ended at {day}",
        ("--as-of", "99"): "there is no batch 99",
        ("--as-of", "ffff-"): "no build has an id that begin.*ffff-",
        ("--as-of", "2026-02-30"): "invalid moment 2026-02-30: choose a day",
        ("--without-batch", "99"): "--without-batch 99: there is no such batch",
        ("--merge", "a"): "invalid merge a: write A:B",
        ("--merge", "other:a:b"): "merge other:a:b: no landing table declares `merges`",
        ("--ignore-merge", "b:a"): "--ignore-merge b:a: no such merge was delivered",
        ("--seed", "ignored"): "--seed ignored: write NAME=FILE",
        ("--seed", f"nothing={bar.root}/mine.csv"): "--seed nothing: there is no such seed: choose from ignored",
        ("--seed", f"ignored={bar.root}/mine.csv"): "--seed ignored: the file has the columns old_id, reason, not",
        ("--seed", "ignored=no/such/file"): "--seed ignored: can't read no/such/file: No such file",
        ("--seed", f"ignored={bar.root}/latin.csv"): "--seed ignored: can't read .*: it is not UTF-8",
        ("--select", "fct_nothing"): "there is no mart fct_nothing: choose from .*fct_bar_merges",
        ("--ref", "HEAD"): "--ref HEAD: this is not a git repository",
    }.items():
        assert re.match(message, bar.error("bin/copy", "create", "a", *options)), options
    assert re.match("there is no copy a; there are: none", bar.error("bin/copy", "drop", "a"))
    assert bar.state() == before
    assert "there are no copies" in bar.run("bin/copy", "list")


def test_names_can_not_collide(bar: Bar) -> None:
    only = ("--select", "fct_bar_merges")
    longest = "n" * 44
    for name in ("", "A", "1a", "a__b", "_a", "a_", "a-b", "a b", 'a"b', "a'b", "ä", "a;b", f"{longest}n"):
        assert re.match(r"invalid name .*: choose at most 44 lower-case", bar.error("bin/copy", "create", name)), name
    assert bar.error("bin/copy", "create", "as_of_1") == (
        "names such as as_of_1 are for bin/as-of: choose one that doesn't begin with as_of_"
    )
    bar.run("bin/copy", "create", longest, *only)
    assert bar.query(f"select count(*) from copy_{longest}__marts.fct_bar_merges") == [(1,)]
    assert bar.error("bin/copy", "create", longest).startswith(f"there is a copy {longest}: run bin/copy refresh")
    bar.query("create schema copy_other__marts")
    assert "there is a schema copy_other__marts that is no copy's" in bar.error("bin/copy", "create", "other")
    bar.query("drop schema copy_other__marts")


def test_a_creation_that_is_killed_is_unfinished(bar: Bar) -> None:
    before = bar.state()
    creation = start_command(bar.root / "bin/copy", "create", "a", env=bar.environment, start_new_session=True)
    views = "select 1 from pg_class where relnamespace = to_regnamespace('copy_a__intermediate') having count(*) > 3"
    with creation as process:
        wait_until(lambda: bar.query(views), process)
        os.killpg(process.pid, signal.SIGKILL)
    assert re.search("a +unfinished", bar.run("bin/copy", "list"))
    assert bar.error("bin/copy", "create", "a").startswith("there is an unfinished copy a: run bin/copy refresh a")
    assert bar.run("bin/copy", "drop", "a") == "dropped   a\n"
    assert bar.state() == before


def test_the_code_of_another_commit(bar: Bar) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
        return subprocess.run(
            ("git", *who, *arguments), cwd=bar.root, check=True, capture_output=True, text=True
        ).stdout.strip()

    mart = (bar.root / MART).read_text()
    try:
        bar.write(MART, mart.replace("price, note", "cast(price * 2 as numeric(18, 2)) as price, note"))
        git("init", "--quiet")
        git("add", "dbt")
        git("commit", "--quiet", "--message", "doubled")
        bar.write(MART, mart)
        git("commit", "--quiet", "--all", "--message", "as it is")
        bar.run("bin/copy", "create", "older", "--ref", "HEAD~1", "--select", "fct_bar_sales")
        prices = "select sum(older.price) = 2 * sum(now.price) from copy_older__marts.fct_bar_sales as older"
        assert bar.query(f"{prices} inner join marts.fct_bar_sales as now using (sale_id)") == [(True,)]
        assert git("rev-parse", "HEAD~1")[:8] in bar.run("bin/copy", "list")
        assert git("status", "--porcelain", "--", "dbt") == git("worktree", "prune", "--dry-run") == ""
        assert bar.error("bin/copy", "create", "a", "--ref", "nothing") == "--ref nothing: there is no such commit"
        (bar.root / "dbt/macros/ledger/raw_schema.sql").rename(bar.root / "aside")
        git("commit", "--quiet", "--all", "--message", "old")
        (bar.root / "aside").rename(bar.root / "dbt/macros/ledger/raw_schema.sql")
        assert "the commit is older than bin/copy" in bar.error("bin/copy", "create", "a", "--ref", "HEAD")
    finally:
        bar.write(MART, mart)
        subprocess.run(("rm", "-rf", bar.root / ".git"), check=True)


def test_as_of_prints_a_mart_and_keeps_its_copy(bar: Bar) -> None:
    before = bar.state()
    today = str(bar.query("select max(finished_at)::date from raw._batches")[0][0])
    two = batch_of(bar, "two")
    printed = bar.run("bin/as-of", two, "fct_bar_sales", "price=9.00")
    assert re.match(rf"fct_bar_sales as of batch {two}, loaded at \S+ \S+ UTC; built by the code of \w+\n", printed)
    assert re.search(r"sale_id +price +note\n.*\n +4 +9\.00 +more\n\n1 row\n", printed)
    created = bar.query(f"select created_at from copy_as_of_{two}__raw._copy")
    rows = json.loads(bar.run("bin/as-of", two, "fct_bar_sales", "note=", "--json"))
    assert [row["sale_id"] for row in rows["rows"]] == ["3", "5"]
    assert rows["batch_id"] == int(two)
    assert json.loads(bar.run("bin/as-of", two, "fct_bar_sales", "sale_id=x", "--json"))["rows"] == []
    assert bar.query(f"select created_at from copy_as_of_{two}__raw._copy") == created, "it was only read"
    assert "a " in bar.run("bin/as-of", two, "fct_bar_merges")
    assert "fct_bar_sales" in bar.run("bin/copy", "list"), "another mart does not cost the first"

    mart = (bar.root / MART).read_text()
    bar.write(MART, f"{mart} where price < 3")
    assert len(json.loads(bar.run("bin/as-of", today, "fct_bar_sales", "--json"))["rows"]) == 2
    bar.write(MART, f"{mart} where price < 6")
    assert len(json.loads(bar.run("bin/as-of", today, "fct_bar_sales", "--json"))["rows"]) == 3
    bar.write(MART, mart)

    assert bar.error("bin/as-of", two, "fct_bar_sales", "prize=9").startswith(
        "prize=9: write column=value; the columns"
    )
    message = "price=nine: price is of the type number, and 'nine' can't be one"
    assert bar.error("bin/as-of", two, "fct_bar_sales", "price=nine") == message
    assert bar.error("bin/as-of", "1999-12-31", "fct_bar_sales").startswith(
        "nothing was loaded as of 1999-12-31: the first"
    )
    assert bar.error("bin/as-of", two, "fct_bar").startswith("there is no mart fct_bar: choose from ")
    assert bar.state() == before


def test_readers_can_not_read_copies_and_a_reset_drops_them(bar: Bar, new_database: Callable[..., Database]) -> None:
    bar.run("bin/warehouse", "roles")
    bar.run("bin/copy", "create", "a", "--select", "fct_bar_merges")
    readable = "select has_schema_privilege('granary_reader', '{}', 'usage')"
    assert bar.query(readable.format("marts")) == [(True,)]
    assert bar.query(readable.format("copy_a__marts")) == [(False,)]
    reader = run_command("bin/copy", "list", root=bar.root, env=bar.environment | {"PGUSER": "granary_reader"})
    assert reader.stderr == "error: the user may not do this: permission denied for schema copy_a__raw\n"
    database = new_database(bar.database, "reset")
    reset = run_command(
        bar.root / "scripts/in_venv.sh", "granary.reset", env=bar.environment | {"PGDATABASE": database.name}
    )
    assert reset.stdout == "dropped   raw, staging, intermediate, marts, the copy a\n"
    assert database.query(r"select nspname from pg_namespace where nspname ~ '^(copy_|raw)'") == []
