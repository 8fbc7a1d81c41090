"""Everything after raw: the dbt project, one asset per model and seed, one check per data test."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets
from psycopg2 import sql

from granary.project import ROOT, GranaryError, target_directory
from granary_dagster import resources
from granary_dagster.resources import Granary, key_of

BIN_DBT = str(ROOT / "bin" / "dbt")  # knows the server, the packages and the lock


def dbt_resource() -> DbtCliResource:
    """Return dbt as the project calls it."""
    return DbtCliResource(project_dir=str(ROOT / "dbt"), dbt_executable=BIN_DBT)


def read_manifest() -> dict[str, Any]:
    """Return dbt's manifest, which bin/dagster brings up to date; where there is none yet, make it."""
    path = target_directory() / "manifest.json"
    if not path.exists():
        parsed = subprocess.run([BIN_DBT, "--quiet", "parse"], capture_output=True, text=True, check=False)
        if parsed.returncode:
            raise GranaryError(f"bin/dbt parse: {(parsed.stdout + parsed.stderr).strip()}")
    manifest = json.loads(path.read_text())
    attach_tests(manifest)
    return manifest


def attach_tests(manifest: dict[str, Any]) -> None:
    """Attach each test that stands between several models to the last of them: Dagster's checks belong to one asset."""
    for name, test in manifest["nodes"].items():
        parents = manifest["parent_map"][name]
        if test["resource_type"] == "test" and not test.get("attached_node") and len(parents) > 1:
            test["attached_node"] = max(parents, key=lambda parent: (len(ancestors(manifest, parent)), parent))


def ancestors(manifest: Mapping[str, Any], name: str) -> set[str]:
    """Return everything upstream of a node."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        new = set(manifest["parent_map"].get(ahead.pop(), [])) - found
        found |= new
        ahead += new
    return found


class Translator(DagsterDbtTranslator):
    """Groups the assets by layer, and knows a dependence that dbt's lineage doesn't show."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Return the layer: seeds, staging, intermediate or marts."""
        return "seeds" if dbt_resource_props["resource_type"] == "seed" else dbt_resource_props["fqn"][1]

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add the way to dbt's docs."""
        link = resources.docs_link(dbt_resource_props["unique_id"])
        return {**super().get_metadata(dbt_resource_props), "docs": link}

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """Let the views on the ledger depend on all loads, which write it: dbt sees them depend on the ledger only."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if unique_id.startswith("model.granary.stg_ledger__"):
            spec = spec.replace_attributes(deps=[key_of(entity) for entity in resources.entities().values()])
        return spec


def build_assets() -> dg.AssetsDefinition:
    """Return the step that builds and tests what is selected of the dbt project."""
    manifest = read_manifest()

    @dbt_assets(manifest=manifest, dagster_dbt_translator=Translator(), name="build")
    def build(context: dg.AssetExecutionContext, dbt: DbtCliResource, granary: Granary) -> Iterator[Any]:
        specs = {spec.key.to_python_identifier(): spec for spec in context.assets_def.specs}
        # In dbt's own target folder, where the quality report looks for the tests' results.
        invocation = dbt.cli(["build"], context=context, target_path=target_directory())
        events = invocation.stream()
        try:
            for event in events:
                if isinstance(event, dg.Output):
                    node = manifest["nodes"][specs[event.output_name].metadata["dagster_dbt/unique_id"]]
                    context.add_output_metadata(built(node), output_name=event.output_name)
                yield event
        except dg.DagsterExecutionInterruptedError:
            invocation.process.send_signal(signal.SIGINT)
            with contextlib.suppress(Exception):
                list(events)  # dbt's last words: dagster-dbt would complain if nobody took them
            raise

    return build


def built(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return rows and a preview of a table; nothing of a view, which would have to be worked out for it."""
    if node["config"]["materialized"] == "view":
        return {}
    with resources.reading() as cursor:
        return resources.described(cursor, sql.Identifier(node["schema"], node["alias"]))
