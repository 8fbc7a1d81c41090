"""The docs, as a newcomer opens them, without a network: served by dbt, and in Chromium (`make test_browser`)."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Database, fetch, free_port

pytestmark = pytest.mark.feeds("courses", "shop")
LAYERS = {"staging": "#5b8fb9", "intermediate": "#c98b2b", "marts": "#3d8b5a"}


@pytest.fixture(scope="module")
def target(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Database]:
    """A folder with the docs of a warehouse that is built without data."""
    database, folder = new_database(), tmp_path_factory.mktemp("docs")
    (empty := folder / "data").mkdir()
    for command in (
        ("bin/ingest", "--data-dir", empty),
        ("bin/dbt", "--quiet", "run", "--select", "+load_audit"),
        ("bin/dbt", "--quiet", "docs", "generate", "--static"),
    ):
        done = database.run(*command, env={"DBT_TARGET_PATH": str(folder)})
        assert done.returncode == 0, done.stdout + done.stderr
    return folder, database


def test_each_layer_has_its_colour_in_the_lineage(target: tuple[Path, Database]) -> None:
    manifest = json.loads((target[0] / "manifest.json").read_text())
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model":
            assert node["config"]["docs"]["node_color"] == LAYERS[node["fqn"][1]], node["name"]


def test_dbt_serves_the_docs_without_a_network(target: tuple[Path, Database]) -> None:
    folder, database = target
    port = free_port()
    command = ("bin/dbt", "docs", "serve", "--no-browser", "--host", "127.0.0.1", "--port", port)
    with database.start(*command, env={"DBT_TARGET_PATH": str(folder)}) as served:
        for name, expected in (("index.html", b"<html"), ("manifest.json", b"load_audit")):
            assert expected in fetch(f"http://127.0.0.1:{port}/{name}", served)
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=30)


@pytest.mark.browser
def test_a_newcomer_finds_a_mart_its_columns_and_its_lineage(page: Any, target: tuple[Path, Database]) -> None:
    page.goto((target[0] / "static_index.html").as_uri())
    page.get_by_role("heading", name="Where to look").wait_for()

    page.get_by_placeholder("Search for models").fill("load_audit")
    page.locator(".result-body", has_text="One row per attempt to load a landing file").first.click()
    page.get_by_role("heading", name="load_audit").wait_for()
    page.get_by_text("rows_read_count", exact=True).wait_for()
    page.get_by_text("bigint").first.wait_for()

    page.get_by_title("View Lineage Graph").first.click()
    page.get_by_text("Lineage Graph", exact=True).first.wait_for()
    canvas = page.locator("canvas").first
    canvas.wait_for()
    assert canvas.bounding_box()["height"] > 300
