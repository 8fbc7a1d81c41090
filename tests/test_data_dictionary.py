"""The data dictionary: every table and column is on the page, as dbt describes it, and text stays text."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Database, run_command
from granary.reports import data_dictionary


@pytest.fixture(scope="module")
def manifest(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What dbt knows of the project."""
    target = tmp_path_factory.mktemp("target")
    done = new_database().run("bin/dbt", "--quiet", "parse", env={"DBT_TARGET_PATH": str(target)})
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((target / "manifest.json").read_text())


class Texts(html.parser.HTMLParser):
    """Collects the text of each element that has an id, with the elements below it, and all links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.links: list[str] = []
        self.outside: list[str] = []
        self.open: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "a":
            self.links.append(values["href"])
        self.outside += [values[name] for name in ("src", "data", "srcset") if name in values]
        if tag not in ("meta", "input", "wbr", "link"):
            self.open.append((tag, values.get("id")))
            assert values.get("id") not in self.texts, "ids are unique"
            self.texts |= {values["id"]: ""} if "id" in values else {}
        elif tag == "link":
            self.outside.append(values["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, "elements are closed in order"

    def handle_data(self, data: str) -> None:
        for _, name in self.open:
            if name:
                self.texts[name] += data


def plain(text: str) -> str:
    """A text as it looks on the page."""
    return " ".join(text.replace("`", "").split())


def described(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    nodes = [*manifest["nodes"].values(), *manifest["sources"].values()]
    return [node for node in nodes if node["resource_type"] in ("model", "seed", "source")]


def test_every_table_and_column_is_on_the_page_with_its_description(manifest: dict[str, Any]) -> None:
    texts = Texts(data_dictionary.render(manifest, {})).texts
    assert len(described(manifest)) > 80
    for node in described(manifest):
        anchor = f"{node['schema']}.{node.get('identifier') or node['name']}"
        assert plain(node["description"]).startswith("One row per "), anchor
        assert plain(node["description"]) in plain(texts[anchor]), anchor
        for column in node["columns"].values():
            text = plain(texts[f"{anchor}.{column['name']}"])
            assert text.startswith(column["name"])
            assert column["description"], (anchor, column["name"])
            assert plain(column["description"]) in text, (anchor, column["name"])


def test_tables_are_grouped_by_layer_and_feed(manifest: dict[str, Any]) -> None:
    anchors = list(Texts(data_dictionary.render(manifest, {})).texts)
    assert [anchor for anchor in anchors if "." not in anchor and "/" not in anchor] == list(data_dictionary.LAYERS)
    groups, group = {}, None
    for anchor in anchors:
        group = anchor if "/" in anchor else group
        groups[anchor] = group
    assert [groups[table] for table in ("marts.fct_orders", "marts.load_audit")] == ["marts/tickets", "marts/quality"]
    assert groups["intermediate.int_identity__latest_merges"] == "intermediate/identity"
    assert groups["staging.stg_shop__orders"] == "staging/shop"
    assert groups["staging.page_types"] == "seeds/tickets"
    assert [groups[table] for table in ("raw.shop__orders", "raw._batches")] == ["landing/shop", "landing/ledger"]


def test_every_data_test_and_every_rule_of_a_landing_column_is_on_the_page(manifest: dict[str, Any]) -> None:
    texts = Texts(data_dictionary.render(manifest, {})).texts
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node"):
            table = manifest["nodes"][node["attached_node"]]
            place = ".".join(filter(None, [table["schema"], table["name"], node["column_name"]]))
            assert plain(data_dictionary.in_words(node)) in plain(texts[place]), node["name"]
    for source in manifest["sources"].values():
        for column in source["columns"].values():
            text = plain(texts[f"raw.{source['identifier']}.{column['name']}"])
            meta = column["config"]["meta"]
            assert all(plain(str(meta[key])) in text for key in ("parse", "default", "must") if key in meta)
            assert ("required" in text.split()) == bool(meta.get("required")), (source["identifier"], column["name"])


def test_each_link_leads_to_something_on_the_page(manifest: dict[str, Any]) -> None:
    page = Texts(data_dictionary.render(manifest, {}))
    assert {link.removeprefix("#") for link in page.links} <= set(page.texts)
    assert "Used by fct_weekly_sales" in plain(page.texts["marts.fct_orders"])
    assert re.search(r"Built from [\w, ]*\bfct_orders\b", plain(page.texts["marts.fct_weekly_sales"]))


def test_the_page_needs_nothing_else(manifest: dict[str, Any]) -> None:
    page = data_dictionary.render(manifest, {})
    assert Texts(page).outside == []
    assert not re.search(r"https?:|url\(|@import", page)


def test_text_is_escaped_and_code_is_marked(manifest: dict[str, Any]) -> None:
    evil = "One row per <script>alert('a & b')</script>, with `a < b` and \"quotes\"; see `fct_orders`."
    node = manifest["nodes"]["model.granary.fct_weekly_sales"]
    changed = {**node, "description": evil, "columns": {"<b>": {**node["columns"]["event_id"], "name": "<b>"}}}
    page = data_dictionary.render(
        manifest | {"nodes": manifest["nodes"] | {"model.granary.fct_weekly_sales": changed}}, {}
    )
    assert (
        "<p>One row per &lt;script&gt;alert(&#39;a &amp; b&#39;)&lt;/script&gt;, with <code>a &lt; b</code> and"
        ' &#34;quotes&#34;; see <a href="#marts.fct_orders"><code>fct_orders</code></a>.</p>'
    ) in page
    assert '<td class="name">&lt;b&gt;</td>' in page


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("unique", {}, "unique"),
        ("not_null", {}, "not null"),
        ("accepted_values", {"values": ["a", 1]}, "one of `a`, `1`"),
        ("relationships", {"to": "ref('dim_event')", "field": "event_id"}, "refers to `dim_event` (`event_id`)"),
        ("relationships", {"to": "source('shop', 'orders')", "field": "id"}, "refers to `shop__orders` (`id`)"),
        ("accepted_range", {"min_value": 0}, "at least `0`"),
        ("accepted_range", {"min_value": 0, "inclusive": False}, "above `0`"),
        ("expect_column_values_to_be_between", {"min_value": 0, "max_value": 1}, "at least `0` and at most `1`"),
        ("unique_combination_of_columns", {"combination_of_columns": ["a", "b"]}, "unique together: `a`, `b`"),
        ("something_new", {}, "orders are well"),
    ],
)
def test_tests_are_told_in_words(name: str, given: dict[str, Any], words: str) -> None:
    test = {"name": "orders_are_well", "test_metadata": {"name": name, "kwargs": given}}
    assert data_dictionary.in_words(test | {"config": {"severity": "ERROR"}}) == words
    lenient = {"config": {"severity": "warn", "where": "a > 1"}}
    assert data_dictionary.in_words(test | lenient) == f"{words}, where `a > 1` (else a warning)"


def test_types_are_those_of_the_contract_then_those_of_the_catalog(manifest: dict[str, Any]) -> None:
    types = {"showtime_at": {"type": "timestamp without time zone"}, "account_id": {"type": "not this"}}
    catalogued = {"stg_tickets__showtimes": types, "dim_account": types}
    catalog = {"nodes": {f"model.granary.{name}": {"columns": columns} for name, columns in catalogued.items()}}
    column = next(iter(manifest["nodes"]["model.granary.stg_tickets__showtimes"]["columns"]))
    types[column] = {"type": "timestamp without time zone"}
    texts = Texts(data_dictionary.render(manifest, catalog)).texts
    assert texts[f"staging.stg_tickets__showtimes.{column}"].split()[1] == "timestamp"
    assert texts["marts.dim_account.account_id"].split()[1] == "text"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the scripts, so that no page of the user's is written."""
    shutil.copytree(ROOT / "scripts", tmp_path / "a clone" / "scripts")
    (tmp_path / "a clone" / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path / "a clone"


def test_the_page_is_written_below_the_root(manifest: dict[str, Any], clone: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "manifest.json").write_text(json.dumps(manifest))
    environment = {"DBT_TARGET_PATH": str(tmp_path / "target")}
    done = run_command("scripts/in_venv.sh", "granary.reports.data_dictionary", root=clone, env=environment, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"data dictionary: {clone}/output/data_dictionary.html\n"
    assert [path.name for path in (clone / "output").iterdir()] == ["data_dictionary.html"]
    assert (clone / "output" / "data_dictionary.html").read_text() == data_dictionary.render(manifest, {})


def test_a_missing_or_damaged_manifest_is_said_with_the_way_out(clone: Path) -> None:
    manifest = clone / "dbt" / "target" / "manifest.json"
    done = run_command("scripts/in_venv.sh", "granary.reports.data_dictionary", root=clone)
    assert done.returncode == 1
    assert done.stderr == f"error: {manifest} isn't there: dbt writes it. Run this first:  make docs\n"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{")
    done = run_command("scripts/in_venv.sh", "granary.reports.data_dictionary", root=clone)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {manifest} can't be read (")
    assert done.stderr.endswith("). Let dbt write it again:  make docs\n")
    assert not (clone / "output").exists()


def test_help_explains_and_an_unknown_argument_is_refused() -> None:
    done = run_command("scripts/in_venv.sh", "granary.reports.data_dictionary", "--help")
    assert done.stdout == f"{data_dictionary.__doc__.strip()}\n"
    done = run_command("scripts/in_venv.sh", "granary.reports.data_dictionary", "--no-such-thing")
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown argument --no-such-thing")
