"""Brands that onboard themselves: folders and schemas of one source, found by its patterns, on an untouched tree."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from branded_feed import FILES, copy_with_branded_feed
from conftest import DBT, MODELS_ONLY, Database
from copies import apart, differences
from granary import declared
from granary.loader import raw_tables, schemas

pytestmark = pytest.mark.long

BUILD = ("bin/dbt", "build", "--exclude-resource-type", "unit_test")
ONBOARDING = "select brand, state, delivered_by, row_count, missing_columns, extra_columns from marts.feed_onboarding"


class Project:
    """A copy of the project whose only feed stands for brands, and a warehouse of its own."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root, self.database, self.query = root, database, database.query
        self.environment = {"DBT_TARGET_PATH": str(root / "dbt" / "target"), "GRANARY_LAKE": str(root / "the lake")}
        copy_with_branded_feed(root, self.run)

    def attempt(self, *command: str, **variables: str) -> CompletedProcess[str]:
        """Run a command."""
        return self.database.run(*command, root=self.root, env=self.environment | variables)

    def run(self, *command: str, **variables: str) -> str:
        """Run a command that has to succeed, and return what it prints."""
        done = self.attempt(*command, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *command: str) -> str:
        """Run a command that has to fail, and return its errors."""
        done = self.attempt(*command)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    def deliver(self, name: str, *lines: str) -> Path:
        """Write a file of a folder: acme/1.csv."""
        path = self.folder(name.partition("/")[0]) / name.partition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def folder(self, brand: str) -> Path:
        """Return the folder of a brand's pages."""
        return self.root / "data" / "incremental" / f"wl_{brand}" / "pages"

    def create(self, brand: str, columns: str = "page_id text, seconds int", *rows: str) -> None:
        """Create a schema with a table of pages."""
        self.query(f'create schema "wl_{brand}"; create table "wl_{brand}".pages ({columns})')
        for row in rows:
            self.query(f'insert into "wl_{brand}".pages values ({row})')


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Project:
    return Project(tmp_path / "a copy", database)


def test_brands_appear_between_two_builds_and_the_last_one_goes(project: Project) -> None:
    project.deliver("acme/1.csv", "page_id,seconds,title", "p1,5,Home", "p2,7,")
    project.run("bin/ingest")
    project.run(*BUILD)
    assert project.query(ONBOARDING) == [("acme", "live", "folder", 2, "", "")]

    tree = [path for path in project.root.glob("dbt/m*/**/*") if path.is_file()]
    before = [path.read_bytes() for path in tree]
    project.deliver("bolt/1.jsonl", '{"page_id": "p1", "seconds": 3, "tags": ["a"]}', '{"page_id": "p2", "seconds": 1}')
    project.create("cola", "page_id text, seconds int, title text, city text", "'p1', 9, 'Start', 'Oslo'")
    project.run("bin/ingest")
    project.run(*BUILD)
    rows = project.query("select * from marts.fct_wl_pages order by 1, 2")
    assert rows == [
        ("acme", "p1", 5, "Home", None),
        ("acme", "p2", 7, None, None),
        ("bolt", "p1", 3, None, '{"tags":"[\\"a\\"]"}'),
        ("bolt", "p2", 1, None, None),
        ("cola", "p1", 9, "Start", '{"city":"Oslo"}'),
    ]
    assert project.query(f"{ONBOARDING} order by 1") == [
        ("acme", "live", "folder", 2, "", ""),
        ("bolt", "live", "folder", 2, "title", "tags"),
        ("cola", "live", "schema", 1, "", "city"),
    ]
    since = "select live_since = finished_at from marts.feed_onboarding inner join raw._batches using (brand)"
    assert project.query(since) == [(True,)] * 3
    assert [path.read_bytes() for path in tree] == before
    manifest = json.loads((project.root / "dbt/target/manifest.json").read_text())
    staging = manifest["nodes"]["model.granary.stg_wl__pages"]["depends_on"]["nodes"]
    assert "source.granary.wl.pages" in staging, "one source stands for all brands"
    assert [name for name in manifest["sources"] if ".wl" in name] == ["source.granary.wl.pages"]

    for brand in ("acme", "bolt"):
        (project.folder(brand)).rename(project.root / brand)
    project.query("drop schema wl_cola cascade")
    said = project.refused("bin/ingest")
    assert (
        "no brand was found for the source wl: there is no file in incremental/wl_*/ or initial/wl_*/ for pages" in said
    )
    assert "and no schema wl_% with a table pages" in said
    failed = project.attempt("bin/dbt", "--bar", *BUILD[1:])
    assert failed.returncode == 1
    assert "each_source_of_brands_has_one" in failed.stdout
    assert "no brand of the source wl is there: bin/ingest found no file of pages in a folder wl_*" in failed.stdout
    assert project.query("select distinct state from marts.feed_onboarding") == [("gone",)]
    assert project.query("select * from marts.fct_wl_pages order by 1, 2") == rows, "what was delivered stays"


def test_incremental_equals_a_full_refresh(project: Project) -> None:
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5", "p2,x")
    project.run("bin/ingest")
    project.run(*DBT, "build", *MODELS_ONLY)
    project.deliver("acme/2.csv", "page_id,seconds,colour", "p1,6,red", "p2,7,")
    project.deliver("bolt/1.csv", "page_id,seconds", "p1,5", "p2,x")
    project.run("bin/ingest")
    project.run(*DBT, "build", *MODELS_ONLY)
    project.run(*DBT, "build", *MODELS_ONLY, **apart(project.environment["DBT_TARGET_PATH"]))
    assert differences(project.database) == []
    rejected = "select file_path, state, healed_by_batch_id is not null from marts.rejected_rows order by 1"
    assert project.query(rejected) == [
        ("incremental/wl_acme/pages/1.csv", "healed", True),
        ("incremental/wl_bolt/pages/1.csv", "open", False),
    ], "a brand heals its own rows only"


def test_what_is_wrong_with_a_brand_costs_only_itself(project: Project) -> None:
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    project.deliver("bolt/1.csv", "page_id,title", "p1,Home")
    project.deliver("Odd Name/1.csv", "page_id,seconds", "p1,5")
    project.create("cola")
    project.create("dent", "page_id text, title text")
    project.create("Echo")
    project.query("create schema wl_fine; create view wl_fine.pages as select 'p1' as page_id, 5 as seconds")
    project.deliver("good/1.csv", f"page_id,seconds{',x' * 1590}", f"p1,5{',' * 1590}")
    for name in ("good/2.csv", "gulf/1.csv"):
        project.folder(name.partition("/")[0]).mkdir(parents=True, exist_ok=True)
        (project.folder(name.partition("/")[0]) / name.partition("/")[2]).symlink_to(project.root / "nowhere")
    project.deliver("hefty/1.csv", f"page_id,seconds{',x' * 1600}", f"p1,5{',' * 1600}")
    said = project.refused("bin/ingest")
    for message in (
        "incremental/wl_bolt/pages/1.csv, line 1: no column seconds (found page_id, title): add it to the file",
        "wl_Odd Name/pages/1.csv: wl_Odd Name can't be a brand's folder: a brand has a name of at most 63 lower-case"
        " letters (a to z) and digits, joined by single underscores: rename to wl_odd_name",
        "wl_dent.pages: no column seconds (found page_id, title): add it to the table",
        "the schema wl_Echo can't be a brand's: a brand has",
        "wl_fine.pages: it isn't a table, and a view would run its owner's code",
        "incremental/wl_hefty/pages/1.csv: the file has 1,602 columns, and can have 1,598: leave out columns",
    ):
        assert message in said
    project.run(*BUILD)
    listed = 'select brand, state, left(last_error, 30) from marts.feed_onboarding order by brand collate "C"'
    assert project.query(listed) == [
        ("Echo", "refused", "the schema wl_Echo can't be a b"[:30]),
        ("Odd Name", "refused", "the folder wl_Odd Name can't b"),
        ("acme", "live", None),
        ("bolt", "refused", "incremental/wl_bolt/pages/1.cs"),
        ("cola", "live", None),
        ("dent", "refused", "wl_dent.pages: no column secon"),
        ("fine", "refused", "wl_fine.pages: it isn't a tabl"),
        ("good", "live", None),
        ("gulf", "refused", "incremental/wl_gulf/pages/1.cs"),
        ("hefty", "refused", "incremental/wl_hefty/pages/1.c"),
    ]
    assert project.query("select error like '%no column seconds%' from marts.load_audit where status = 'failed'") == [
        (True,),
        (False,),
    ]
    assert project.query("select brand, count(*) from marts.fct_wl_pages group by 1 order by 1") == [
        ("acme", 1),
        ("good", 1),
    ]


def test_what_is_named_by_hand_is_looked_at_and_nothing_else(project: Project) -> None:
    path = project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    project.run("bin/ingest", str(path))
    places = "select brand, kind, error, gone_at from raw._brands order by 1"
    assert project.query(places) == [("acme", "folder", None, None)], "a file that is named by its path has a brand"
    project.deliver("bolt/1.csv", "page_id,seconds", "p1,5")
    project.create("cola")
    project.create("dent", "page_id text, title text")
    assert "copied" not in project.run("bin/ingest", "wl_acme"), "what is wrong with a brand costs only itself"
    assert project.query(places) == [("acme", "folder", None, None)], "bolt isn't refused, but not looked at"
    why = "error: wl_dent.pages: no column seconds (found page_id, title): add it to the table"
    assert why in project.refused("bin/ingest", "wl_dent")
    assert why in project.refused("bin/ingest", "wl")
    project.query("alter table wl_cola.pages drop seconds")
    assert "wl_cola.pages: no column seconds" in project.refused("bin/ingest", "wl_cola/pages")
    before = project.query(places)
    assert [brand for brand, *_ in before] == ["acme", "bolt", "cola", "dent"]
    project.run("bin/ingest", "wl_acme/pages/1")
    assert project.query(places) == before, "what is known of the others stays"
    path.unlink()
    project.run("bin/ingest", "wl_bolt")
    gone = "select array_agg(brand) from raw._brands where gone_at is not null"
    assert project.query(gone) == [(["acme"],)]


def test_a_folder_may_change_hands(project: Project) -> None:
    own = project.root / "dbt/models/staging/wl_own/_wl_own__sources.yml"
    own.parent.mkdir()
    text = (
        "sources: [{name: wl_own, loader: bin/ingest, schema: raw, tables: [{name: pages, identifier: wl_own__pages,"
        " columns: [{name: page_id}, {name: seconds}]}]}]"
    )
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    first, second = (project.deliver(f"own/{number}.csv", "page_id,seconds", f"p{number},5") for number in (1, 2))
    own.write_text(text)
    project.run("bin/ingest", "wl_acme", "wl_own/pages/1")
    own.unlink()
    assert "3 files: 2 loaded (2 rows, 0 lines rejected), 1 known" in project.run("bin/ingest"), "a brand's from now on"
    assert "0 loaded" in project.run("bin/ingest")
    own.write_text(text)
    assert "3 files: 1 loaded (1 row, 0 lines rejected), 2 known" in project.run("bin/ingest"), "and a feed's again"
    assert project.query("select feed, brand, strpos(path, 'own') > 0 from raw._batches order by batch_id") == [
        ("wl", "acme", False),
        ("wl_own", None, True),
        ("wl", "own", True),
        ("wl", "own", True),
        ("wl_own", None, True),
    ]
    assert "0 loaded" in project.run("bin/ingest", "--verify")
    assert first.exists()
    assert second.exists()


def test_a_schema_that_may_not_be_read_is_named(project: Project) -> None:
    project.create("acme", "page_id text, seconds int", "'p1', 5")
    project.create("bolt", "page_id text, seconds int", "'p1', 5")
    project.query(
        f"create role loads login; grant all on database {project.database.name} to loads;"
        " alter schema wl_acme owner to loads"
    )
    try:
        project.query("alter table wl_acme.pages owner to loads")
        said = project.attempt("bin/ingest", PGUSER="loads")
        assert (
            "error: wl_bolt.pages: loads may not read it: grant usage on the schema and select on the table"
            in said.stderr
        )
        assert "1 loaded (1 row" in said.stdout
        assert said.returncode == 1
        project.query(
            "grant usage on schema wl_bolt to loads; grant select on wl_bolt.pages to loads;"
            " alter table wl_bolt.pages enable row level security"
        )
        said = project.attempt("bin/ingest", PGUSER="loads")
        assert (
            "error: wl_bolt.pages: it has row-level security, which may hide rows from loads: turn it off (alter table"
            " ... disable row level security), or let the role bypass it (alter role ... bypassrls)" in said.stderr
        )
        project.query("alter table wl_bolt.pages disable row level security")
        assert "1 loaded (1 row" in project.run("bin/ingest", PGUSER="loads")
    finally:
        project.query("drop owned by loads cascade; drop role loads")


def test_a_schema_is_copied_when_its_content_is_another(project: Project) -> None:
    """A copy is a landing file like any other: it has lines, and the next load of the same content changes nothing."""
    project.create(
        "cola", "page_id text, seconds int, seen timestamptz", "'p2', 2, '2026-03-01 12:00+02'", "'p1', 1, null"
    )
    assert "copied   wl_cola.pages to incremental/wl_cola/pages/" in project.run("bin/ingest")
    (first,) = project.folder("cola").iterdir()
    assert gzip.decompress(first.read_bytes()).decode() == (
        "page_id,seconds,seen\np1,1,\np2,2,2026-03-01 10:00:00+00\n"
    )
    batches = "select count(*) from raw._batches"
    project.query("alter table wl_cola.pages add took interval, add mark bytea, add share float")
    project.query("update wl_cola.pages set took = '90 min', mark = 'a', share = 1.0 / 3")
    assert "1 loaded" in project.run("bin/ingest")
    project.query("update wl_cola.pages set seconds = seconds")  # other places in the table
    assert "0 loaded" in project.run("bin/ingest")
    for setting in (
        *("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "intervalstyle = 'sql_standard'"),
        *("bytea_output = 'escape'", "extra_float_digits = -5"),
    ):
        project.query(f"alter database {project.database.name} set {setting}")
        assert "0 loaded" in project.run("bin/ingest"), setting
    project.query("update wl_cola.pages set seconds = 5 where page_id = 'p1'")
    assert "to copy  wl_cola.pages to " in project.run("bin/ingest", "--dry-run")
    assert len([*project.folder("cola").iterdir()]) == 2
    assert "1 loaded" in project.run("bin/ingest", "wl")
    project.query("update wl_cola.pages set seconds = 1 where page_id = 'p1'")
    assert "1 loaded" in project.run("bin/ingest", "wl_cola"), "a former state is a state"
    assert project.query(batches) == [(4,)]
    project.run(*BUILD)
    assert project.query("select page_id, seconds from marts.fct_wl_pages order by 1") == [("p1", 1), ("p2", 2)]
    line = "select _row_id - first_row_id + 1 from raw.wl__pages inner join raw._batches on batch_id = _batch_id"
    assert project.query(f"{line} where page_id = 'p2' and batch_id = 1") == [(3,)]


def test_a_copy_is_written_where_the_folder_is_and_nowhere_else(project: Project, tmp_path: Path) -> None:
    project.create("cola", "page_id text, seconds int", "'p1', 1")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (victim := elsewhere / "victim").write_text("mine")
    project.folder("cola").parent.mkdir(parents=True)
    project.folder("cola").symlink_to(elsewhere)
    assert "wl_cola.pages can't be copied: incremental/wl_cola is a symbolic link" in project.refused("bin/ingest")
    assert [*elsewhere.iterdir()] == [victim]
    project.folder("cola").unlink()
    project.folder("cola").mkdir()
    (project.folder("cola") / ".copy.partial").symlink_to(victim)
    assert "1 loaded" in project.run("bin/ingest")
    assert victim.read_text() == "mine"
    project.create("dent")
    project.folder("dent").parent.mkdir()
    project.folder("dent").write_text("not a folder")
    assert "wl_dent.pages can't be copied to " in project.refused("bin/ingest")


def test_loads_that_copy_a_schema_take_turns(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.create("cola", "page_id text, seconds int", "'p1', 1")
    entity = declared.declarations(project.root / "dbt/models")[0]["wl", "pages"]
    replace, copies = Path.replace, []

    def replace_at_last(path: Path, target: Path) -> Path:
        assert project.query("select count(*) from pg_locks where relation = 'granary_lock.turn'::regclass") == [(1,)]
        copies.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_at_last)
    with contextlib.closing(raw_tables.Session()) as session:
        ((_, place),) = schemas.places(session, [entity])
        for _ in range(2):
            schemas.copy(session, project.root / "data", entity, place)
    assert [path.name for path in project.folder("cola").iterdir()] == copies


def test_brands_that_deliver_the_same_bytes_are_both_live(project: Project) -> None:
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    project.deliver("bolt/1.csv", "page_id,seconds", "p1,5")
    project.deliver("bolt/again.csv", "page_id,seconds", "p1,5")
    assert "2 loaded (2 rows, 0 lines rejected), 1 known" in project.run("bin/ingest")
    assert project.query("select brand from raw._batches order by batch_id") == [("acme",), ("bolt",)]


def test_a_brands_file_is_checked_before_it_loads(project: Project) -> None:
    file = project.deliver("acme/1.csv", "page_id,seconds,city", "p1,5,Oslo")
    said = [re.split("  +", line.strip()) for line in project.run("bin/feed", "check", str(file)).splitlines()]
    assert ["_brand", "the brand", "acme"] in said
    assert ["_extra", "what isn't declared", '{"city":"Oslo"}'] in said


def test_a_feed_of_its_own_is_no_brand(project: Project) -> None:
    own = project.root / "dbt/models/staging/wl_own/_wl_own__sources.yml"
    own.parent.mkdir()
    own.write_text(
        "sources: [{name: wl_own, loader: bin/ingest, schema: raw, tables: [{name: pages, identifier: wl_own__pages,"
        " columns: [{name: page_id}]}]}]"
    )
    project.deliver("own/1.csv", "page_id", "p1")
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    project.run("bin/ingest")
    assert project.query("select feed, brand from raw._batches order by 1") == [("wl", "acme"), ("wl_own", None)]
    project.create("own", "page_id text, seconds int", "'p1', 1")
    assert "wl_own.pages can't be a brand's, because wl_own is a feed of its own" in project.refused("bin/ingest")
    assert project.query("select count(*) from raw._batches") == [(2,)]
    project.query("drop schema wl_own cascade")
    own.write_text(own.read_text().replace("name: pages, ", "name: others, ").replace("__pages", "__others"))
    assert "wl_own/pages/1.csv: not a file of a declared entity" in project.refused("bin/ingest")
    own.write_text(own.read_text().replace("page_id", "xmin"))
    assert "nothing of the feed wl_own is loaded" in project.refused("bin/ingest")
    own.unlink()
    (project.root / "data/incremental/wl/pages").mkdir(parents=True)
    (project.root / "data/incremental/wl/pages/1.csv").write_text("page_id,seconds\np1,5\n")
    said = project.refused("bin/ingest", "wl")
    assert "the source wl stands for brands: move the file to incremental/wl_<brand>/pages" in said


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (
            "feeds: wl",
            "source wl: `feeds: wl`: it takes lower-case letters, digits, underscores and one *, such as wl_*",
        ),
        ("feeds: '*'", "source wl: `feeds: *`: it takes"),
        ("feeds: [wl_*]", "source wl: `feeds: ['wl_*']`: it takes"),
        (
            "feeds: wl_*, schemas: wl_*",
            "source wl: `schemas: wl_*`: it takes lower-case letters, digits, underscores and one %",
        ),
        ("schemas: wl_%", "source wl: `schemas` needs `feeds`: the folders to which"),
        ("feeds: wl_*, schemas: wl_%, format: {delimiter: ;}", "can't declare another `format`"),
    ],
)
def test_patterns_that_can_not_be_used_are_named(project: Project, meta: str, message: str) -> None:
    source = project.root / "dbt/models/staging/wl/_wl__sources.yml"
    source.write_text(source.read_text().replace("feeds: wl_*, schemas: wl_%", meta))
    assert f"_wl__sources.yml: {message}" in project.refused("bin/ingest") or message in project.refused("bin/ingest")


def test_a_typo_in_a_source_of_brands_is_named_once(project: Project) -> None:
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    source = project.root / "dbt/models/staging/wl/_wl__sources.yml"
    source.write_text(source.read_text().replace("name: title", "name: xmin"))
    said = project.refused("bin/ingest")
    assert said.count("error: ") == 1
    assert "column xmin: not a name that a column can have" in said


def test_patterns_of_two_sources_may_not_overlap(project: Project) -> None:
    other = project.root / "dbt/models/staging/other/_other__sources.yml"
    other.parent.mkdir()
    text = FILES["staging/wl/_wl__sources.yml"].replace("name: wl", "name: other").replace("wl__", "other__")
    other.write_text(text.replace("feeds: wl_*, schemas: wl_%", "feeds: '*_shop', schemas: '%_shop'"))
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    said = project.refused("bin/ingest")
    for one, two in (("wl", "other"), ("other", "wl")):
        assert f"of {one} and `feeds: " in said
        assert f"nothing of the feed {two} is loaded" in said
    other.write_text(text.replace("feeds: wl_*, schemas: wl_%", "feeds: xl_*, schemas: '%_wl'"))
    assert "`schemas: wl_%` of wl and `schemas: %_wl` of other can match the same name" in project.refused("bin/ingest")


def test_an_update_builds_what_has_changed_of_brands(project: Project) -> None:
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    project.create("cola", "page_id text, seconds int", "'p1', 9")
    project.run("bin/ingest")
    project.run("bin/update")
    assert "nothing new" in project.run("bin/update")
    project.deliver("bolt/1.csv", "page_id,seconds", "p1,5")
    project.run("bin/ingest")
    assert "built: what depends on new batches of wl.pages (1)" in project.run("bin/update")
    assert project.query("select count(*) from marts.fct_wl_pages") == [(3,)]
    project.query("drop schema wl_cola cascade")
    project.run("bin/ingest")
    assert "built: what depends on where brands were found" in project.run("bin/update")
    assert project.query("select state from marts.feed_onboarding where brand = 'cola'") == [("gone",)]
    project.run(*DBT, "build", *MODELS_ONLY, **apart(project.environment["DBT_TARGET_PATH"]))
    assert [row for row in differences(project.database) if "build_log" not in row[0]] == []


def test_a_source_of_brands_is_taken_out_with_their_files(project: Project) -> None:
    project.deliver("acme/1.csv", "page_id,seconds", "p1,5")
    project.create("cola", "page_id text, seconds int", "'p1', 9")
    project.run("bin/ingest")
    project.run(*DBT, "build", *MODELS_ONLY)
    listed = project.run("bin/feed", "list").splitlines()
    assert listed[2].split()[:4] == ["wl", "1", "1", "2"]
    said = project.run("bin/feed", "remove", "wl", "--yes", "--force", "--drop-data")
    assert "data/incremental/wl_acme" in said
    assert not [*(project.root / "data").glob("*/wl_*")]
    assert project.query("select (select count(*) from raw._brands), (select count(*) from raw._batches)") == [(0, 0)]
    project.run("bin/ingest")
    project.run(*DBT, "build", "--full-refresh", *MODELS_ONLY)
    assert project.query("select count(*) from marts.feed_onboarding") == [(0,)]


def test_duckdb_gives_the_same(project: Project) -> None:
    duckdb = {"GRANARY_ENGINE": "duckdb", "GRANARY_DUCKDB": str(project.root / "a.duckdb")}
    duckdb["DBT_TARGET_PATH"] = str(project.root / "target of duckdb")
    project.deliver("acme/1.csv", "page_id,seconds,colour", "p1,5,red", "p2,x,")
    project.create("Echo")
    project.attempt("bin/ingest")
    for _ in range(2):
        project.run(*DBT, "build", *MODELS_ONLY)
        project.run("bin/lake")
        project.run(*DBT, "build", *MODELS_ONLY, **duckdb)
        said = project.run("bin/diff", "duckdb", GRANARY_DUCKDB=duckdb["GRANARY_DUCKDB"])
        assert re.search("feed_onboarding: equal, [23] rows", said)
        assert said.splitlines()[-1].endswith("marts equal in postgres and duckdb")
        project.deliver("bolt/1.jsonl", '{"page_id": "p1", "seconds": "4", "title": "ß", "a": null, "b": {"c": 1}}')
        project.attempt("bin/ingest")
    assert project.query("select brand, page_id from marts.fct_wl_pages order by 1, 2") == [
        ("acme", "p1"),
        ("bolt", "p1"),
    ]
