"""The core of the dbt project: lineage, consumers, and documented macros."""

import json
import re
from collections.abc import Callable

import pytest

from conftest import Database, needs_sample


@pytest.fixture(scope="module")
def database(new_database: Callable[[], Database]) -> Database:
    """An empty database."""
    return new_database()


@pytest.fixture(scope="module")
def manifest(database: Database, tmp_path_factory: pytest.TempPathFactory) -> dict:
    target = tmp_path_factory.mktemp("target")
    done = database.run("bin/dbt", "--quiet", "--warn-error", "parse", env={"DBT_TARGET_PATH": str(target)})
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((target / "manifest.json").read_text())


def own(nodes: dict) -> list[dict]:
    return [node for node in nodes.values() if node["package_name"] == "granary"]


@needs_sample
def test_a_run_stops_where_a_declared_table_is_not_registered(database: Database) -> None:
    done = database.run("bin/dbt", "run", "--select", "stg_ledger__batches", "--vars", "{feeds: {}}")
    assert done.returncode != 0
    assert "bin/feed sync" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_lineage_leads_from_each_landing_table_to_its_rejections(manifest: dict) -> None:
    (rejections,) = [node for node in own(manifest["nodes"]) if node["name"] == "stg_ledger__rejected_values"]
    landing = {key for key, source in manifest["sources"].items() if source["loader"] == "bin/ingest"}
    assert landing <= set(rejections["depends_on"]["nodes"])


def test_each_mart_has_a_consumer_and_each_consumer_an_owner(manifest: dict) -> None:
    marts = {key for key, node in manifest["nodes"].items() if node["schema"] == "marts" and key.startswith("model.")}
    exposures = own(manifest["exposures"])
    assert marts == {key for exposure in exposures for key in exposure["depends_on"]["nodes"]}
    for exposure in exposures:
        assert exposure["owner"]["name"] and exposure["description"], exposure["name"]
        groups = {manifest["nodes"][key]["group"] for key in exposure["depends_on"]["nodes"]}
        assert len(groups) == 1, f"{exposure['name']}: the core's marts and each feed's have exposures of their own"


def test_macros_are_documented_with_their_arguments(manifest: dict) -> None:
    for macro in own(manifest["macros"]):
        if macro["name"].startswith(
            ("default__", "postgres__", "duckdb__", "spark__", "test_")
        ):  # described where dispatched
            continue
        assert macro["description"], macro["name"]
        (signature,) = re.findall(rf"macro {macro['name']}\((.*?)\)", macro["macro_sql"])
        names = [argument.split("=")[0].strip() for argument in signature.split(",") if argument.strip()]
        assert names == [argument["name"] for argument in macro["arguments"]], macro["name"]
        assert all(argument["description"] and argument["type"] for argument in macro["arguments"]), macro["name"]
