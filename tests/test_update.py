"""`bin/update` builds what has changed and nothing else, and its tables are always those of a full build.

Each test changes one thing in a project whose only feed is one of its own, and then compares all tables with a second
copy of the models, which is built from scratch.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import DBT, MODELS_ONLY, Database, run_command, start_command, wait_until
from copies import apart, differences
from own_feed import HEADER, copy_with_own_feed

pytestmark = pytest.mark.long

MODEL = "dbt/models/intermediate/bar/int_bar__sales.sql"
MART = "dbt/models/marts/bar/fct_bar_sales.sql"
SOURCES = "dbt/models/staging/bar/_bar__sources.yml"
SEED = "dbt/seeds/bar/tips.csv"
TESTS = """
models:
  - name: stg_bar__sales
    data_tests:
      - dbt_utils.expression_is_true: {name: delivered_prices_are_low, arguments: {expression: price < 100000}}
      - holds_or_rejects_each_raw_row:
          arguments: {raw: "source('bar', 'sales')", feed: bar, entity: sales}
    columns: [{name: _row_id, data_tests: [{unique: {name: delivered_rows_are_unique}}]}]
  - name: int_bar__sales
    config: {meta: {changed_batches: [_batch_id]}}
    data_tests:
      - dbt_utils.expression_is_true: {name: prices_are_low, arguments: {expression: price < 1000}}
    columns:
      - name: note
        data_tests:
          - accepted_values: {name: notes_are_known, arguments: {values: [new]}, config: {severity: warn}}
"""
JOIN = """
{{ config(group='bar', materialized='incremental', unique_key='sale_id') }}
select sales.sale_id, {{ rounded('sales.price + coalesce(cast(tips.tip as numeric), 0)') }} as paid, sales._batch_id
from {{ ref('int_bar__sales') }} as sales
left join {{ ref('tips') }} as tips on sales.sale_id = cast(tips.sale_id as text)
where sales._batch_id > {{ watermark(restarts_with_seeds=true) }}
"""


LINES = "models: [{name: fct_lines, config: {group: bar}, columns: [{name: n, data_type: integer}]}]"


class Project:
    """A copy of the project with a feed `bar`, and a warehouse of its own."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root, self.database, self.batches = root, database, 0
        self.environment = database.environment | {
            "DBT_TARGET_PATH": str(root / "dbt" / "target"),
            "DBT_LOG_PATH": str(root / "dbt" / "logs"),
        }

    def run(self, *command: str, **variables: str) -> str:
        """Run a command that has to succeed, and return what it prints."""
        done = run_command(*command, root=self.root, env=self.environment | variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fail(self, *command: str, **variables: str) -> str:
        """Run a command that has to fail, and return what it prints."""
        done = run_command(*command, root=self.root, env=self.environment | variables)
        assert done.returncode, done.stdout + done.stderr
        return done.stdout

    def tested(self, test: str) -> str:
        """Return the SQL of a data test as it was last run."""
        (path,) = (self.root / "dbt" / "target" / "compiled").rglob(f"{test}.sql")
        return path.read_text()

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of the project."""
        text = (self.root / name).read_text()
        assert old in text, name
        self.write(name, text.replace(old, new))

    def deliver(self, *lines: str) -> str:
        """Load a new file; return its name."""
        self.batches += 1
        name = f"batch_{self.batches:03}"
        self.write(f"data/incremental/bar/sales/{name}.csv", "\n".join([HEADER, *lines, ""]))
        self.run("bin/ingest")
        return name

    def update(self) -> str:
        """Update, and compare all tables with those of a second copy, built from scratch; return what was printed."""
        printed = self.run("bin/update")
        copy = apart(self.root / "dbt" / "target")
        self.run(*DBT, "build", "--full-refresh", *MODELS_ONLY, **copy)
        assert differences(self.database) == []
        assert "nothing new: " in self.run("bin/update"), "the update is remembered"
        return printed


@pytest.fixture(scope="module")
def project(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, updated, with sales, an incremental model of a seed, and a macro that it calls."""
    root, database = tmp_path_factory.mktemp("project") / "with bar", new_database()

    def succeed(*command: str) -> None:
        done = run_command(*command, root=root, env=database.environment)
        assert done.returncode == 0, done.stdout + done.stderr

    copy_with_own_feed(root, succeed)
    made = Project(root, database)
    made.edit(SOURCES, '{must: "length({note}) < 9"}', '{parse: label, must: "length({note}) < 9"}')
    made.write("dbt/models/intermediate/bar/int_bar__paid.sql", JOIN)
    made.write("dbt/macros/bar/rounded.sql", "{% macro rounded(value) %}round({{ value }}, 1){% endmacro %}")
    made.write(SEED, "sale_id,tip\n1,0.5\n3,1.5\n")
    made.edit("dbt/dbt_project.yml", "\nmodels:\n", "\nseeds: {granary: {+schema: staging}}\nmodels:\n")
    made.deliver("1,2.25,2026-03-01,on the house", "2,3.33,2026-03-01,Tall One", "3,5,2026-03-02,a bit")
    assert "built: everything (no update has passed yet)" in made.run("bin/update")
    return made


def test_without_a_change_nothing_is_built(project: Project) -> None:
    before = project.database.query("select count(*) from raw._builds")
    printed = project.update()
    assert re.match(r"nothing new: .* ago: \d+ models built, \d+ tests and \d+ unit tests passed", printed)
    assert project.database.query("select count(*) from raw._builds where schema_prefix = ''") <= before


def test_a_batch_builds_what_reads_it(project: Project) -> None:
    project.deliver("2,3.5,2026-03-03,Tall One", "4,7,2026-03-03,new")
    printed = project.update()
    assert "built: what depends on new batches of bar.sales (1)" in printed
    assert re.search(r"left as they were.*\d+ unit tests", printed)
    assert "unit test" not in re.search("dbt build: .*", printed)[0]


def test_data_tests_ask_what_a_batch_can_have_broken(project: Project) -> None:
    project.write("dbt/models/intermediate/bar/_bar__tests.yml", TESTS)
    project.update()
    assert "_batch_id >" not in project.tested("prices_are_low"), "code has changed"
    ((newest,),) = project.database.query("select max(batch_id) from raw._batches")
    project.deliver("20,8,2026-03-03,new")
    project.update()
    for test in ("delivered_prices_are_low", "delivered_rows_are_unique", "prices_are_low"):
        assert f"_batch_id > {newest}\n" in project.tested(test)
    assert f"_batch_id > {newest}\n" in project.tested("batch_rows_are_conserved")
    assert "_batch_id >" not in project.tested("notes_are_known"), "the older rows have not passed"
    project.deliver("21,9999,2026-03-03,new")
    assert "fail  prices_are_low" in project.fail("bin/update")
    project.deliver("22,8,2026-03-03,new")
    assert "fail  prices_are_low" in project.fail("bin/update"), "the batch before has not passed"
    project.edit("dbt/models/intermediate/bar/_bar__tests.yml", "price < 1000}", "price < 10000}")
    project.update()


def test_data_tests_of_all_rows_find_what_was_changed_by_hand(project: Project) -> None:
    ((newest,),) = project.database.query("select max(batch_id) from raw._batches")
    project.database.query("update intermediate.int_bar__sales set price = 9999999 where sale_id = '1'")
    project.run("bin/dbt", "test", "--select", "prices_are_low", "--vars", f"tested_batch: {newest}")
    assert "fail  prices_are_low" in project.fail("make", "-C", str(project.root), "test_data")
    assert "fail  prices_are_low" in project.fail("bin/update"), "it sees that the table was written"
    project.database.query("update intermediate.int_bar__sales set price = 2.25 where sale_id = '1'")
    project.update()


def test_rows_that_a_later_batch_did_not_supersede_are_found(project: Project) -> None:
    """Nobody counted the older batch again: batch_rows_are_conserved doesn't look at it."""
    ((newest,),) = project.database.query("select max(batch_id) from raw._batches")
    project.database.query("update marts.batch_usage set rows_current_count = 99 where batch_id = 1")
    names = ("batch_rows_are_conserved", "current_rows_are_those_of_all_batches")
    arguments = ("--bar", "test", "--select", *names, "--vars", f"tested_batch: {newest}")
    failed = project.fail("bin/dbt", *arguments)
    assert "fail  current_rows_are_those_of_all_batches" in failed
    assert "fail  batch_rows_are_conserved" not in failed
    project.update()


def test_what_is_edited_during_an_update_is_built_by_the_next(project: Project) -> None:
    project.edit(MART, "price, note", "price, lower(note) as note")
    command = ("/bin/sh", "-c", f"exec '{project.root}/bin/update'")
    relation = "select 'marts.fct_bar_sales'::regclass::oid"
    before = project.database.query(relation)
    with start_command(*command, env=project.environment) as update:
        wait_until(lambda: project.database.query(relation) != before, update)
        project.edit(MART, "price, lower(note) as note", "price, note")
        assert update.wait(timeout=300) == 0, update.communicate()
    assert "from scratch: fct_bar_sales+" in project.update()


@pytest.mark.parametrize(
    "change",
    [
        "create or replace view staging.stg_bar__sales as select * from ({}) as rows where false",
        "alter table marts.fct_bar_sales drop column note",
    ],
)
def test_a_table_whose_definition_was_changed_by_hand_is_built_again(project: Project, change: str) -> None:
    ((definition,),) = project.database.query("select pg_get_viewdef('staging.stg_bar__sales'::regclass)")
    project.database.query(change.format(definition.rstrip(";")))
    assert "built: everything" in project.update()


def test_files_that_dbt_does_not_read_are_no_obstacle(project: Project) -> None:
    (project.root / "dbt/models/.#fct.sql").symlink_to("me@host.1:1")  # as an editor locks it
    project.write("dbt/models/marts/logs/fct_lines.sql", "select 1 as n")
    project.write("dbt/models/marts/logs/fct_lines.yml", LINES)
    project.update()
    project.edit("dbt/models/marts/logs/fct_lines.sql", "1", "2")
    assert "from scratch: fct_lines+" in project.update()
    shutil.rmtree(project.root / "dbt/models/marts/logs")
    project.database.query("drop table marts.fct_lines, full_marts.fct_lines")
    project.update()


def test_a_large_seed_and_the_types_of_a_seed_are_looked_at(project: Project) -> None:
    header, *lines = (project.root / SEED).read_text().splitlines()
    more = [f"{number},0.1" for number in range(1000, 130_000)]
    project.write(SEED, "\n".join([header, *lines, *more, ""]))
    project.update()
    project.edit(SEED, f"{lines[0]}\n", f"{lines[0].partition(',')[0]},0.7\n")
    project.update()
    project.write(SEED, "\n".join([header, *lines, ""]))
    project.write(
        "dbt/seeds/bar/_bar__seeds.yml", "seeds: [{name: tips, config: {column_types: {tip: 'numeric(9, 3)'}}}]"
    )
    assert "from scratch: tips+" in project.update()
    kind = "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'staging.tips'::regclass"
    assert project.database.query(f"{kind} and attname = 'tip'") == [("numeric(9,3)",)]


def test_an_incremental_model_is_built_from_scratch(project: Project) -> None:
    project.edit(MODEL, "(select * from", "(select *, upper(note) as shouted from")
    assert "from scratch: int_bar__sales+" in project.update()


def test_a_table_is_built_with_what_reads_it(project: Project) -> None:
    project.edit(MART, "price, note", "price, upper(note) as note")
    assert "from scratch: fct_bar_sales+" in project.update()


def test_a_new_model_is_built(project: Project) -> None:
    project.write(
        "dbt/models/intermediate/bar/int_bar__more.sql", "select count(*) as c from {{ ref('int_bar__paid') }}"
    )
    assert "from scratch: int_bar__more+" in project.update()


def test_a_macro_changes_the_models_that_call_it(project: Project) -> None:
    project.edit("dbt/macros/bar/rounded.sql", ", 1)", ", 0)")
    assert "from scratch: int_bar__paid+" in project.update()


def test_a_macro_that_is_called_by_its_name_changes_them_too(project: Project) -> None:
    """The source says `parse: label`, and parse_label dispatches to this macro: dbt sees neither."""
    project.database.query("update intermediate.int_bar__sales set note = 'kept'")
    project.edit("dbt/macros/parsing/parse_label.sql", "'_', 'g'", "'-', 'g'")
    assert "built from scratch: " in project.update()
    assert project.database.query("select count(*) from intermediate.int_bar__sales where note = 'kept'") == [(0,)]


def test_a_seed_changes_what_reads_it(project: Project) -> None:
    header, first, *others = (project.root / SEED).read_text().splitlines()
    project.write(SEED, "\n".join([header, first.replace("1,0.", "1,1."), *others, ""]))
    printed = project.update()
    assert "from scratch" not in printed
    assert "1 seed" in printed


def test_a_seed_with_another_column_is_loaded_from_scratch(project: Project) -> None:
    project.write(SEED, "sale_id,tip,why\n1,0.25,nice\n3,1.5,\n")
    assert "from scratch: tips+" in project.update()


def test_other_rules_of_a_source_read_its_batches_again(project: Project) -> None:
    project.edit(SOURCES, "length({note}) < 9", "length({note}) < 99")
    assert "from scratch: source:bar.sales+" in project.update()


def test_a_description_builds_nothing_from_scratch(project: Project) -> None:
    project.edit(SOURCES, "- name: sales\n", "- name: sales\n        description: What was sold.\n")
    assert "from scratch" not in project.update()


def test_variables_of_the_project_change_everything(project: Project) -> None:
    project.edit("dbt/dbt_project.yml", "fail_above: 0.2", "fail_above: 0.9")
    assert "built from scratch: everything (the variables in dbt_project.yml)" in project.update()


def test_a_package_changes_what_calls_its_macros(project: Project) -> None:
    macros = "dbt/offline_packages/dbt_utils/macros/deduplicate.sql"
    project.edit(
        macros,
        "{% macro deduplicate(relation, partition_by, order_by) -%}\n",
        "{% macro deduplicate(relation, partition_by, order_by) -%}\n-- another version\n",
    )
    assert "int_bar__sales+" in project.update()


def test_accepted_batches_are_known(project: Project) -> None:
    project.deliver("x,no number,2026-03-01,", *(f"{number},1,2026-03-01," for number in range(50, 70)))
    project.update()
    ((batch,),) = project.database.query("select max(batch_id) from raw._batches")
    project.run("bin/ingest", "--accept", str(batch), "--why", "it is so")
    assert "batches were accepted" in project.update()


def test_a_replaced_batch_is_forgotten(project: Project) -> None:
    name = project.deliver("5,9,2026-03-03,wrong")
    project.update()
    project.write(f"data/incremental/bar/sales/{name}.csv", f"{HEADER}\n6,9,2026-03-03,right\n")
    project.run("bin/ingest", "--replace", f"bar/sales/{name}")
    assert "from scratch: everything (batches were replaced or removed)" in project.update()


@pytest.mark.parametrize("table", ["marts.fct_bar_sales", "intermediate.int_bar__sales", "staging.stg_bar__sales"])
def test_a_table_that_was_dropped_is_built_again(project: Project, table: str) -> None:
    project.database.query(f"drop {'view' if 'stg' in table else 'table'} {table} cascade")
    printed = project.update()
    assert "built: everything" in printed
    assert table in printed


def test_rows_that_were_changed_by_hand_are_built_again(project: Project) -> None:
    project.database.query("delete from marts.fct_bar_sales")
    assert "built: everything (marts.fct_bar_sales)" in project.update()


def test_a_killed_update_is_made_up_for(project: Project) -> None:
    project.edit(MODEL, "\n{{ dbt_utils", "\n-- changed\n{{ dbt_utils")
    project.deliver("7,1,2026-03-04,late", "1,8,2026-03-04,late")
    before = project.database.query("select 'intermediate.int_bar__sales'::regclass::oid")
    with start_command(
        "/bin/sh", "-c", f"exec '{project.root}/bin/update'", env=project.environment, start_new_session=True
    ) as killed:
        wait_until(
            lambda: project.database.query("select 'intermediate.int_bar__sales'::regclass::oid") != before, killed
        )
        os.killpg(killed.pid, signal.SIGKILL)
    assert "nothing new" not in project.update()


def test_what_was_built_by_other_code_is_built_from_scratch(project: Project) -> None:
    """The code of today is that of the last update, but that of the tables isn't."""
    text = (project.root / MODEL).read_text()
    project.write(MODEL, text.replace("where ", "where sale_id <> '1' and "))
    assert (project.root / MODEL).read_text() != text
    project.run(*DBT, "run", "--full-refresh", "--select", "int_bar__sales")
    project.write(MODEL, text)
    assert "from scratch: int_bar__sales+" in project.update()


def test_a_removed_table_leaves_the_models_of_the_core(project: Project) -> None:
    """But for what the ledger itself keeps: values that were rejected until other rules accepted them."""
    rejected = "select count(*) from marts.rejected_rows where state <> 'replayed'"
    project.deliver("x,no number,2026-03-05,", *(f"{number},1,2026-03-05," for number in range(70, 90)))
    project.run("bin/update")
    assert project.database.query(rejected) != [(0,)]
    project.run("bin/feed", "remove", "bar", "--yes", "--force")
    assert "built from scratch: everything (bar.sales removed)" in project.run("bin/update")
    assert project.database.query(rejected) == [(0,)]
