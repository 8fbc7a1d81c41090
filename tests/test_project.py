"""The dbt project keeps its own rules: what is declared, described and tested agrees with what is built."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
import yaml
from psycopg2 import sql

from conftest import ROOT, Database

DBT = ROOT / "dbt"


@pytest.fixture(scope="module")
def built(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, dict]:
    """A warehouse that is built without data, and dbt's manifest of it."""
    database, target = new_database(), tmp_path_factory.mktemp("target")
    (empty := target / "data").mkdir()
    for command in (
        ("bin/ingest", "--data-dir", empty),
        ("bin/dbt", "--warn-error", "build"),
    ):
        done = database.run(*command, env={"DBT_TARGET_PATH": str(target)})
        assert done.returncode == 0, done.stdout + done.stderr
    return database, json.loads((target / "manifest.json").read_text())


def models(manifest: dict) -> list[dict]:
    return [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed") and node["package_name"] == "granary"
    ]


@pytest.mark.feeds("tickets")
def test_any_subset_of_feeds_builds(built: tuple[Database, dict]) -> None:
    assert built[0].query("select count(*) from marts.fct_weekly_sales") == [(0,)]


def test_yaml_and_sql_name_the_same_columns_and_all_are_described(built: tuple[Database, dict]) -> None:
    database, manifest = built
    columns = database.query("select table_schema, table_name, column_name from information_schema.columns")
    for model in models(manifest):
        actual = {column for schema, table, column in columns if (schema, table) == (model["schema"], model["name"])}
        if model["config"]["materialized"] != "ephemeral":  # which isn't a table
            assert set(model["columns"]) == actual, model["name"]
        undescribed = [name for name, column in model["columns"].items() if not column["description"].strip()]
        assert not undescribed, (model["name"], undescribed)
        assert model["description"].startswith(("One row per ", "A single row ")), model["name"]


def test_each_incremental_model_has_a_unit_test_of_the_first_run_and_of_a_later_one(
    built: tuple[Database, dict],
) -> None:
    _, manifest = built
    names = {test["name"] for test in manifest["unit_tests"].values()}
    for model in models(manifest):
        if model["config"]["materialized"] == "incremental":
            assert {f"test__{model['name']}__first_run", f"test__{model['name']}__later_run"} <= names


def test_each_mart_has_a_contract_and_a_unique_key(built: tuple[Database, dict]) -> None:
    database, manifest = built
    for model in models(manifest):
        if model["schema"] == "marts":
            assert model["config"]["contract"]["enforced"], model["name"]
        if model["schema"] == "marts" and model["config"]["materialized"] != "view":
            unique = "select count(*) from pg_index where indrelid = %s::regclass and indisunique"
            assert database.query(unique, [f"marts.{model['name']}"])[0][0] >= 1, model["name"]


def test_the_database_refuses_a_null_and_a_double_in_each_mart(built: tuple[Database, dict]) -> None:
    database, manifest = built
    constrained = [model for model in models(manifest) if model.get("constraints")]
    assert constrained
    for mart in constrained:
        (key,) = [constraint["columns"] for constraint in mart["constraints"] if constraint["type"] == "primary_key"]
        required = [column["name"] for column in mart["columns"].values() if column["constraints"]]
        row = {
            column["name"]: "2026-01-01" if column["data_type"].startswith(("date", "timestamp")) else "0"
            for column in mart["columns"].values()
        }
        for name in (*key, *required):
            with pytest.raises(psycopg2.errors.NotNullViolation, match=f'"{name}" of relation "{mart["name"]}"'):
                plant(database, mart["name"], row | {name: None})
        with pytest.raises(psycopg2.errors.UniqueViolation, match=re.escape(f"({', '.join(key)})=")):
            plant(database, mart["name"], row, row)


def plant(database: Database, mart: str, *rows: dict[str, str | None]) -> None:
    """Insert rows into a mart: all of them, or none."""
    values = sql.SQL(", ").join(sql.Literal(tuple(row.values())) for row in rows)
    columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    database.query(sql.SQL("insert into marts.{} ({}) values {}").format(sql.Identifier(mart), columns, values))


def test_no_data_test_repeats_what_the_database_refuses(built: tuple[Database, dict]) -> None:
    _, manifest = built
    refused = set()
    for model in models(manifest):
        key = [column for constraint in model.get("constraints", []) for column in constraint["columns"]]
        required = [column["name"] for column in model["columns"].values() if column["constraints"]]
        refused |= {("not_null", model["unique_id"], column) for column in key + required}
        refused |= {("unique", model["unique_id"], column) for column in key if len(key) == 1}
    for test in manifest["nodes"].values():
        if test["resource_type"] == "test" and test.get("test_metadata"):
            asked = (test["test_metadata"]["name"], test["attached_node"], test["column_name"])
            assert asked not in refused, test["name"]


def test_incremental_models_have_a_key(built: tuple[Database, dict]) -> None:
    _, manifest = built
    for model in models(manifest):
        if model["config"]["materialized"] == "incremental":
            assert model["config"]["unique_key"], model["name"]


def test_a_run_refuses_an_incremental_model_without_a_key(built: tuple[Database, dict], tmp_path: Path) -> None:
    shutil.copytree(DBT, tmp_path / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    own = "{{ config(materialized='incremental') }} select 1 as one"
    (tmp_path / "dbt" / "models" / "intermediate" / "int_own.sql").write_text(own)
    target = {"DBT_TARGET_PATH": str(tmp_path / "target")}
    refused = built[0].run("bin/dbt", "run", "--project-dir", tmp_path / "dbt", "--select", "int_own", env=target)
    assert refused.returncode != 0
    assert "models/intermediate/int_own.sql: an incremental model without unique_key" in refused.stdout


def test_a_current_version_has_the_key_of_its_model(built: tuple[Database, dict]) -> None:
    _, manifest = built
    for source in manifest["sources"].values():
        if declared := source["config"]["meta"].get("current_version"):
            key = manifest["nodes"][f"model.granary.{declared['model']}"]["config"]["unique_key"]
            assert declared["key"] == ([key] if isinstance(key, str) else key), source["name"]


def test_only_staging_reads_sources(built: tuple[Database, dict]) -> None:
    _, manifest = built
    for model in models(manifest):
        reads = [parent for parent in model.get("depends_on", {}).get("nodes", []) if parent.startswith("source.")]
        # Of the rows that staging rejects, the core reads the amounts and the keys from the raw tables.
        reads_rejected = model["name"] in ("int_quality__delivered_amounts", "int_quality__delivered_keys")
        may_read = model["schema"] == "staging" or reads_rejected
        assert not reads or may_read, (model["name"], reads)


def test_each_landing_table_has_a_staging_model_that_accounts_for_every_row(built: tuple[Database, dict]) -> None:
    _, manifest = built
    tests = manifest["nodes"].values()
    for source in manifest["sources"].values():
        if source["loader"] == "bin/ingest":
            staging = f"stg_{source['source_name']}__{source['name']}"
            assert any(test["name"] == f"{staging}_holds_or_rejects_each_raw_row" for test in tests), (
                f"{staging} needs the test holds_or_rejects_each_raw_row"
            )


def test_models_have_one_yaml_file_each() -> None:
    for model in (DBT / "models").rglob("*.sql"):
        assert model.with_suffix(".yml").exists(), model
        (described,) = yaml.safe_load(model.with_suffix(".yml").read_text())["models"]
        assert described["name"] == model.stem


@pytest.mark.feeds("courses", "market", "shop", "tickets")
@pytest.mark.parametrize("package", ["dbt_utils", "dbt_expectations"])
def test_stand_ins_have_every_package_macro_that_is_called(package: str) -> None:
    sources = [path for folder in ("models", "macros", "tests", "seeds") for path in (DBT / folder).rglob("*.*")]
    called = {name for path in sources for name in re.findall(rf"\b{package}\.(\w+)", path.read_text())}
    assert called, f"nothing of {package} is called: take it out of packages.yml"
    stand_ins = "".join(path.read_text() for path in (DBT / "offline_packages" / package).rglob("*.sql"))
    defined = set(re.findall(r"{%-? (?:macro|test) (?!default__)(\w+)\(", stand_ins))
    assert called == defined, "the stand-ins hold just what is called"


def test_no_model_uses_what_only_postgresql_has() -> None:
    """Such things live in a few dispatched macros, so that the same models can be built on other engines."""
    forbidden = r"distinct on|generate_series|percentile_cont|isodow|::|\bilike\b|\btext\b|lateral|array_agg"
    for model in (DBT / "models").rglob("*.sql"):
        code = re.sub(r"--.*|{#.*?#}", "", model.read_text(), flags=re.DOTALL if "{#" in model.read_text() else 0)
        code = "\n".join(line for line in code.splitlines() if line.strip() != "-- text")
        assert not (found := re.search(forbidden, code)), (model, found)


def test_paths_of_macros_say_what_is_in_them() -> None:
    for path in (DBT / "macros").rglob("*.sql"):
        assert re.search(rf"{{%-? macro {path.stem}(\(|__)", Path(path).read_text()), path
