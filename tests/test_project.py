"""The dbt project keeps its own rules: what is declared, described and tested agrees with what is built."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

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
        if model["config"]["materialized"] != "ephemeral":  # which is no table
            assert set(model["columns"]) == actual, model["name"]
        undescribed = [name for name, column in model["columns"].items() if not column["description"].strip()]
        assert not undescribed, (model["name"], undescribed)
        assert model["description"].startswith("One row per "), model["name"]


def test_each_incremental_model_has_a_unit_test_of_the_first_run_and_of_a_later_one(
    built: tuple[Database, dict],
) -> None:
    _, manifest = built
    names = {test["name"] for test in manifest["unit_tests"].values()}
    for model in models(manifest):
        if model["config"]["materialized"] == "incremental":
            assert {f"test__{model['name']}__first_run", f"test__{model['name']}__later_run"} <= names


def test_each_mart_has_a_contract_and_a_unique_index(built: tuple[Database, dict]) -> None:
    database, manifest = built
    for model in models(manifest):
        if model["schema"] == "marts":
            assert model["config"]["contract"]["enforced"], model["name"]
        if model["schema"] == "marts" and model["config"]["materialized"] != "view":
            unique = "select count(*) from pg_index where indrelid = %s::regclass and indisunique"
            assert database.query(unique, [f"marts.{model['name']}"])[0][0] >= 1, model["name"]


def test_only_staging_reads_sources(built: tuple[Database, dict]) -> None:
    _, manifest = built
    for model in models(manifest):
        reads = [parent for parent in model.get("depends_on", {}).get("nodes", []) if parent.startswith("source.")]
        assert not reads or model["schema"] == "staging", (model["name"], reads)


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
    defined = set(re.findall(r"{%-? (?:macro|test) (\w+)\(", stand_ins))
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
        assert re.search(rf"{{%-? macro {path.stem}\(", Path(path).read_text()), path
