"""The docs, as a newcomer opens them, without a network: served by dbt, and in Chromium (`make test_browser`)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import NEUTRAL, ROOT, Database

LAYERS = {"staging": "#5b8fb9", "intermediate": "#c98b2b", "marts": "#3d8b5a"}


@pytest.fixture(scope="module")
def target(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Database]:
    """A folder with the docs of a warehouse that is built without data."""
    database, folder = new_database(), tmp_path_factory.mktemp("docs")
    (empty := folder / "data").mkdir()
    for command in (
        ("bin/ingest", "--data-dir", empty),
        ("bin/dbt", "--quiet", "run", "--select", "+fct_daily_sales"),
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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [ROOT / "bin/dbt", "docs", "serve", "--no-browser", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, **NEUTRAL, **database.environment, "DBT_TARGET_PATH": str(folder)}
    served = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for name, expected in (("index.html", b"<html"), ("manifest.json", b"fct_daily_sales")):
            assert expected in fetch(f"http://127.0.0.1:{port}/{name}", served)
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=30)


def fetch(address: str, server: subprocess.Popen) -> bytes:
    """What an address answers, as soon as it does."""
    for _ in range(300):
        assert server.poll() is None, server.communicate()[0]
        with contextlib.suppress(OSError), urllib.request.urlopen(address) as answer:
            return answer.read()
        time.sleep(0.2)
    raise AssertionError(f"{address} never answered")


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of Chromium that fails where a script does, or where anything is asked of the network."""
    from playwright.sync_api import sync_playwright  # only `make test_browser` installs it

    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert chromium, "Chromium isn't installed: apt install chromium, or name it in CHROMIUM"
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        page = browser.new_page(viewport={"width": 1400, "height": 950})
        page.set_default_timeout(60_000)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        yield page
        browser.close()
        assert problems == []


@pytest.mark.browser
def test_a_newcomer_finds_a_mart_its_columns_and_its_lineage(page: Any, target: tuple[Path, Database]) -> None:
    page.goto((target[0] / "static_index.html").as_uri())
    page.get_by_role("heading", name="Where to look").wait_for()

    page.get_by_placeholder("Search for models").fill("fct_daily_sales")
    page.locator(".result-body", has_text="One row per date from the first to the last").first.click()
    page.get_by_role("heading", name="fct_daily_sales").wait_for()
    page.get_by_text("net_sales_7d_avg_usd", exact=True).wait_for()
    page.get_by_text("numeric(38,2)").first.wait_for()

    page.get_by_title("View Lineage Graph").first.click()
    page.get_by_text("Lineage Graph", exact=True).first.wait_for()
    canvas = page.locator("canvas").first
    canvas.wait_for()
    assert canvas.bounding_box()["height"] > 300


@pytest.mark.browser
def test_a_newcomer_finds_a_column_in_the_data_dictionary(
    page: Any, target: tuple[Path, Database], tmp_path: Path
) -> None:
    folder, database = target
    done = database.run("scripts/in_venv.sh", "data_dictionary.py", env={"DBT_TARGET_PATH": str(folder)})
    assert done.returncode == 0, done.stdout + done.stderr
    page.goto((ROOT / "output" / "data_dictionary.html").as_uri())
    page.get_by_placeholder("Search").fill("net_sales_7d_avg_usd")
    page.get_by_text("net_sales_7d_avg_usd", exact=True).first.wait_for()
    assert page.get_by_text("course_engagement", exact=True).locator("visible=true").count() == 0
