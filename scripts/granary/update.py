"""Build and test what has changed since the last update that passed: batches, code, seeds, or the tables themselves.

usage: bin/update [--force]

  --force  build and test everything

What isn't affected stays as it is. Without any change, dbt isn't started. New batches are built with what they touch,
and data tests read only rows that they can have changed (bin/dbt test reads all). Models whose SQL, configuration,
macros or parsing rules have changed are built from scratch, and so is all that depends on them. Unit tests run if code
has changed. The docs follow the code; the quality report is always written.

bin/dbt build always builds and tests everything, but nothing from scratch, unless it is told to (--full-refresh). So
does this command where GRANARY_ENGINE names another engine than PostgreSQL, after exporting what is new (bin/lake).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import datetime
import io
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg2
import psycopg2.extensions

from granary import affected, dbt, engines, lake, last_build
from granary.last_build import State
from granary.project import ROOT, TEST_RESULTS, GranaryError, replacing, run_main, schema_prefix, target_directory
from granary.reports import quality
from granary.server.connection import connect
from granary.text import counted, in_units

CODE = ("dbt/macros/", "dbt/models/", "dbt/seeds/", "dbt/tests/")  # whose changes can be told from one another
CHANGED = ("state:new", *(f"state:modified.{kind}" for kind in ("body", "configs", "relation", "contract")))
COMPILED = ("compiled", "compiled_code", "compiled_path")  # what the docs show of a node
DOCS = "static_index.html"
SHOWN = 3  # changed files or tables that are named


@dataclasses.dataclass
class Changes:
    """What has changed since the last update that passed."""

    batches: list[tuple[str, str, int]] = dataclasses.field(default_factory=list)  # feed, entity, number
    brands: bool = False  # whether some have appeared or are gone
    code: list[str] = dataclasses.field(default_factory=list)
    tables: list[str] = dataclasses.field(default_factory=list)  # that others have written or dropped
    everything: list[str] = dataclasses.field(default_factory=list)  # why everything must be built
    from_scratch: list[str] = dataclasses.field(default_factory=list)  # why everything must be built from scratch

    def __bool__(self) -> bool:
        """Return whether anything has changed."""
        return any(dataclasses.astuple(self))


def main() -> int:
    """Build what has changed; return an exit code."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/update", argparse.SUPPRESS, __doc__, formatter_class=as_written)
    parser.add_argument("--force", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    dbt.prepare()
    if (engine := engines.chosen()) != "postgres":
        return update_apart(engine, options.force)
    connection = dbt.connect_dbt()
    last = last_build.read(connection)
    if last and not options.force and not changes_since(last, connection) and not missing_artifacts():
        age = in_units(datetime.timedelta(seconds=time.time() - last.finished_at))
        print(f"nothing new: no batch, no change of code. The last build, {age} ago: {last.summary}")
        return quality.write()
    broken = dbt.leave_out_broken_tables(connection)
    dbt.take_turn(connection, "bin/update")
    dbt.be_interruptible()
    with contextlib.closing(connect()) as own:  # the other connection only keeps the lock from now on
        last = last_build.read(own)  # another update may have ended meanwhile
        changes = changes_since(last, own) if last else first_changes(own)
        if options.force:
            changes.everything.append("--force")
        code = Update(own, last, changes).run(broken)
    return quality.write() or code


def update_apart(engine: str, force: bool) -> int:
    """Export what was loaded, and build all of it with another engine; return an exit code."""
    lake.update()
    os.environ |= engines.settings(engine)
    arguments = ["build", *(["--full-refresh"] if force else []), *engines.LEFT_OUT[engine]]
    arguments = engines.prepare(engine, "build", arguments, ["--bar", *arguments])
    broken = dbt.leave_out_broken_tables()
    dbt.be_interruptible()
    return dbt.run_with_bar("build", arguments) or int(broken)


def missing_artifacts() -> list[str]:
    """Return which files for the docs and the report are missing, as in a new clone beside a built warehouse."""
    return [name for name in ("manifest.json", TEST_RESULTS, DOCS) if not (target_directory() / name).exists()]


# -- What has changed --------------------------------------------------------------------------------------------------


def changes_since(last: State, connection: psycopg2.extensions.connection) -> Changes:
    """Compare the code, the settings, the ledger and the tables with those of the last build."""
    try:
        state = last_build.now(connection, last.schemas, last.newest_batch)
    except psycopg2.errors.UndefinedTable:
        return Changes(everything=["there is no ledger"])
    changes = Changes(last_build.batches_after(connection, last.newest_batch), last.brands != state.brands)
    for path in different(last.files, state.files):
        (changes.code if path.startswith(CODE) else changes.everything).append(path)
    changes.tables = different(last.tables, state.tables)
    changes.everything += [*different(last.settings, state.settings), *changes.tables]
    if last.decisions != state.decisions:
        changes.everything.append("batches were accepted or removed")
    if gone := removed_tables(last.variables.get("feeds") or {}, state.variables.get("feeds") or {}):
        changes.from_scratch.append(f"{named(gone)} removed")
    if any(name != "feeds" for name in different(last.variables, state.variables)):  # new ones the code shows
        changes.from_scratch.append("the variables in dbt_project.yml")
    if last.batches != state.batches:
        changes.from_scratch.append("batches were replaced or removed")
    changes.from_scratch += [f"raw.{name}" for name in different(last.landing, state.landing) if name in last.landing]
    return changes


def first_changes(connection: psycopg2.extensions.connection) -> Changes:
    """Return that everything must be built: from scratch, unless there are no tables yet."""
    with connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass(%s) is not null", [f'"{schema_prefix()}intermediate"._watermarks'])
        if cursor.fetchone()[0]:
            return Changes(
                from_scratch=["no update has passed yet, so it isn't known by what code the tables were built"]
            )
    return Changes(everything=["no update has passed yet"])


def different(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the keys whose values are not the same, sorted."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def removed_tables(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the landing tables that are no longer registered. (The code of models shows what is new.)"""
    return [f"{feed}.{name}" for feed, tables in before.items() for name in tables if name not in after.get(feed, {})]


def named(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


# -- What is built -----------------------------------------------------------------------------------------------------


class Update:
    """One update. `project` and `before` are dbt's manifests of now and of the last build, as JSON."""

    def __init__(self, connection: psycopg2.extensions.connection, last: State | None, changes: Changes) -> None:
        """Take what was found out."""
        self.connection, self.last, self.changes = connection, last, changes
        self.target = target_directory()
        self.kept = self.target / "last_build"  # for dbt, which compares with the manifest in it
        self.artifacts: list[bytes] = []  # dbt's manifest and results, complete
        self.results: dict[str, Any] = {"results": []}  # of all runs of dbt, as in its run_results.json
        self.ran: Counter[str] = Counter()  # nodes, by kind

    def run(self, broken: bool) -> int:
        """Build and test what has changed, and remember it if all has passed; return an exit code.

        `broken`: tables are left out because their declaration can't be used; then nothing is remembered.
        """
        from dbt.cli.main import dbtRunner  # takes a second: only when dbt is really run

        self.code = last_build.code()  # what is edited from now on may come too late for this build
        parsed = dbtRunner().invoke(["--log-level", "warn", "parse"])
        if not parsed.success:
            return 2
        self.manifest = parsed.result  # dbt's own object
        self.project = read(self.target / "manifest.json")
        self.before = None
        if self.last:
            manifest, results = last_build.artifacts(self.connection)
            self.before, self.older = json.loads(manifest), json.loads(results)
            if self.is_code_changed:
                with replacing(self.kept / "manifest.json") as file:
                    file.write(manifest)
        code = self.build()
        self.keep_artifacts()
        if not code and (self.is_code_changed or DOCS in missing_artifacts()):
            code = dbt.run_with_bar("docs", ["docs", "generate", "--static", "--no-compile"], self.manifest)
        if not code and not broken:
            self.remember()
        return code or int(broken)

    @property
    def is_code_changed(self) -> bool:
        """Return whether more has changed than batches and tables."""
        others = [reason for reason in self.changes.everything if reason not in self.changes.tables]
        return bool(self.changes.code or others or self.changes.from_scratch)

    def build(self) -> int:
        """Run dbt, once or twice; return an exit code."""
        changes = self.changes
        if changes.from_scratch:
            print(f"built from scratch: everything ({named(changes.from_scratch)})")
            return self.run_dbt("--full-refresh")
        seeds = sorted({*self.changed("state:modified", kind="seed"), *self.large_seeds()})
        from_scratch = [f"{root}+" for root in self.roots(seeds)]
        selection = [f"{seed}+" for seed in seeds]
        selection += ["state:modified"] if self.changed("state:modified", besides=from_scratch) else []
        for feed, entity, _ in changes.batches:
            selection += affected.by_batch(self.project, feed, entity)
        selection += [affected.BRANDS] if changes.brands else []
        if changes.everything:
            print(f"built: everything ({named(changes.everything)})")
        elif changes.batches:
            found = [f"{feed}.{entity} ({number})" for feed, entity, number in changes.batches]
            print(f"built: what depends on new batches of {named(found)}")
        elif changes.brands:
            print("built: what depends on where brands were found")
        if changes.code:
            print(f"built: what depends on {named(changes.code)}")
        if from_scratch:
            print(f"built from scratch: {named(from_scratch)}")
        code = 0
        if changes.everything or selection:
            arguments = [] if changes.everything else ["--select", *dict.fromkeys(selection)]
            arguments += ["--exclude", *from_scratch] if from_scratch else []
            arguments += [] if self.is_code_changed else ["--exclude-resource-type", "unit_test"]
            arguments += [] if self.is_code_changed or changes.everything else ["--vars", json.dumps(self.tested())]
            code = self.run_dbt(*arguments)
        if from_scratch and not code:
            code = self.run_dbt("--full-refresh", "--select", *from_scratch)
        return code

    def tested(self) -> dict[str, Any]:
        """Return the variables by which data tests know what has passed already: see the macro tested_batch."""
        passed = {result["unique_id"] for result in self.older["results"] if result["status"] == "pass"}
        tests = {uid for uid, node in self.project["nodes"].items() if node["resource_type"] == "test"}
        return {"tested_batch": self.last.newest_batch or 0, "tested_in_full": sorted(tests - passed)}

    def run_dbt(self, *arguments: str) -> int:
        """Run `dbt build`, and take its results; return an exit code.

        A test runs if one of its models is built: the others are as they should be.
        """
        started = time.time()
        options = ["build", "--indirect-selection", "eager", *self.state, *arguments]
        code = dbt.run_with_bar("build", options, self.manifest)
        if written := dbt.results_written(since=started):
            new = json.loads(written)
            self.results = new | {"results": merged(self.results["results"], new["results"])}
            self.ran = Counter(result["unique_id"].partition(".")[0] for result in self.results["results"])
        return code

    @property
    def state(self) -> list[str]:
        """Return dbt's option that names the last build's manifest."""
        return ["--state", str(self.kept)] if self.last and self.is_code_changed else []

    def changed(self, *selection: str, kind: str = "", besides: Sequence[str] = ()) -> list[str]:
        """Return the names of nodes that dbt's comparison with the last build selects, of a kind or of all."""
        from dbt.cli.main import dbtRunner

        if not self.is_code_changed or not self.last:
            return []
        kinds = ["--resource-type", kind] if kind else []
        options = ["--log-level", "none", "ls", "--output", "name", *self.state, *kinds, "--select", *selection]
        options += ["--indirect-selection", "eager", *(["--exclude", *besides] if besides else [])]
        with contextlib.redirect_stdout(io.StringIO()):
            done = dbtRunner(manifest=self.manifest).invoke(options)
        if not done.success:
            raise GranaryError(f"dbt can't compare the project with that of the last build: {done.exception}")
        return done.result

    def large_seeds(self) -> list[str]:
        """Return the seeds whose file has changed: dbt doesn't look into those of more than a megabyte."""
        nodes = [node for node in self.project["nodes"].values() if node["resource_type"] == "seed"]
        return [node["name"] for node in nodes if f"dbt/{node['original_file_path']}" in self.changes.code]

    def roots(self, seeds: list[str]) -> list[str]:
        """Return the models, sources and seeds from which on all is built from scratch; none depends on another."""
        if not self.last:
            return []
        found = [seed for seed in seeds if self.has_other_columns(seed)]
        if self.is_code_changed:
            found += self.changed("state:modified.configs", kind="seed")  # such as its column_types
            found += self.changed(*CHANGED, kind="model")
            found += affected.by_macros(self.project, self.before) + affected.by_rules(self.project, self.before)
        if last_build.is_uncertain(self.connection):
            found += [
                node["name"]
                for node in self.project["nodes"].values()
                if node["config"]["materialized"] == "incremental"
                and f"{node['schema']}.{node['alias']}" in self.changes.tables
            ]
        return affected.without_descendants(self.project, found)

    def has_other_columns(self, seed: str) -> bool:
        """Return whether a seed's file has other columns than its table, so that dbt can't load it into that."""
        (node,) = (node for node in self.project["nodes"].values() if node["name"] == seed)
        with (ROOT / "dbt" / node["original_file_path"]).open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(
                "select column_name from information_schema.columns where table_schema = %s and table_name = %s",
                [node["schema"], node["alias"]],
            )
            return {name for (name,) in cursor.fetchall()} != set(header)

    # -- What is kept --------------------------------------------------------------------------------------------------

    def keep_artifacts(self) -> None:
        """Complete dbt's manifest and results by those of the last build, for what was not built now."""
        before, self.project = self.before, read(self.target / "manifest.json")
        if before:
            for uid, node in self.project["nodes"].items():
                if not node.get("compiled_code") and uid in before["nodes"]:
                    node |= {key: before["nodes"][uid].get(key) for key in COMPILED}
            known = self.project["nodes"] | self.project["unit_tests"]
            kept = [result for result in self.older["results"] if result["unique_id"] in known]
            self.results = self.older | self.results | {"results": merged(kept, self.results["results"])}
        self.artifacts = [json.dumps(content).encode() for content in (self.project, self.results)]
        for name, content in zip(("manifest.json", TEST_RESULTS), self.artifacts, strict=True):
            if (
                name != TEST_RESULTS or "metadata" in self.results
            ):  # dbt has come as far as to run something, or once had
                with replacing(self.target / name) as file:
                    file.write(content)

    def remember(self) -> None:
        """Keep the state of this build, which has passed, and say what was left as it was."""
        results = self.results["results"]
        kinds = Counter(result["unique_id"].partition(".")[0] for result in results)
        warned = sum(result["status"] == "warn" for result in results)
        tests = f"{counted(kinds['test'], 'test')} and {counted(kinds['unit_test'], 'unit test')}"
        what = (
            f"{counted(kinds['model'], 'model')} built, {tests} passed{f', {warned} with warnings' if warned else ''}"
        )
        schemas = sorted({node["schema"] for node in self.project["nodes"].values() if "alias" in node})
        last_build.wait_for_statistics(self.connection)
        state = last_build.now(self.connection, schemas)
        state.files, state.settings, state.variables = self.code
        state.summary, state.finished_at = what, time.time()
        last_build.write(self.connection, state, *self.artifacts)
        left = kinds - self.ran
        kept = [counted(left[kind], kind.replace("_", " ")) for kind in ("model", "test", "unit_test") if left[kind]]
        if kept:
            print(f"left as they were, because nothing that they depend on has changed: {', '.join(kept)}")


def read(path: Any) -> dict[str, Any]:
    """Return the content of a file of JSON."""
    return json.loads(path.read_text("utf-8"))


def merged(older: list[dict[str, Any]], newer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return dbt's results, the newer one of each node."""
    return [*({result["unique_id"]: result for result in (*older, *newer)}.values())]


if __name__ == "__main__":
    run_main(main)
