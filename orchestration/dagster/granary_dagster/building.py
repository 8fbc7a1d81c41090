"""The dbt project: an asset for each model and seed, a check for each data test."""

import contextlib
import json
import signal
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets
from psycopg2 import sql

from granary import process
from granary.project import ROOT, target_directory
from granary_dagster import resources
from granary_dagster.resources import Granary, key_of


def dbt_resource() -> DbtCliResource:
    """Return a dbt that runs bin/dbt, which takes care of the server, the packages and the lock."""
    return DbtCliResource(project_dir=str(ROOT / "dbt"), dbt_executable=str(ROOT / "bin" / "dbt"))


def read_manifest() -> dict[str, Any]:
    """Return dbt's manifest. bin/dagster keeps it up to date; other programs get what is there, or a new one."""
    path = target_directory() / "manifest.json"
    if not path.exists():
        process.run("bin/dbt", "--quiet", "parse", echo=False)
    manifest = json.loads(path.read_text())
    attach_tests(manifest)
    return manifest


def attach_tests(manifest: dict[str, Any]) -> None:
    """Attach each test of several models to the last one of them, because a check in Dagster belongs to one asset."""
    for name, test in manifest["nodes"].items():
        parents = manifest["parent_map"][name]
        if test["resource_type"] == "test" and not test.get("attached_node") and len(parents) > 1:
            test["attached_node"] = max(parents, key=lambda parent: (len(ancestors(manifest, parent)), parent))


def ancestors(manifest: Mapping[str, Any], name: str) -> set[str]:
    """Return all nodes upstream of a node."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        new = set(manifest["parent_map"].get(ahead.pop(), [])) - found
        found |= new
        ahead += new
    return found


def ephemeral_parents(manifest: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """Return the ephemeral models that nodes read, directly or through other ephemeral models."""
    parents = {parent for name in names for parent in manifest["parent_map"][name] if parent.startswith("model.")}
    found = {name for name in parents if manifest["nodes"][name]["config"]["materialized"] == "ephemeral"}
    return found | ephemeral_parents(manifest, found) if found else found


def selection(context: dg.AssetExecutionContext, manifest: Mapping[str, Any]) -> list[str]:
    """Return what a run of a part must select beside its assets: the ephemeral models that these read.

    They are no assets, so their tests are no checks, and Dagster wouldn't select them. Without a selection, dbt builds
    and tests everything.
    """
    if not context.is_subset:
        return []
    specs = context.assets_def.specs_by_key
    names = [specs[key].metadata["dagster_dbt/unique_id"] for key in context.selected_asset_keys]
    models = sorted(manifest["nodes"][name]["name"] for name in ephemeral_parents(manifest, names))
    return ["--select", " ".join(models)] if models else []


class Translator(DagsterDbtTranslator):
    """Groups the assets by layer, and adds dependencies that dbt's lineage doesn't have."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Return the layer: seeds, staging, intermediate or marts."""
        return "seeds" if dbt_resource_props["resource_type"] == "seed" else dbt_resource_props["fqn"][1]

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add the link to dbt's docs."""
        link = resources.docs_link(dbt_resource_props["unique_id"])
        return {**super().get_metadata(dbt_resource_props), "docs": link}

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """Let views of nothing but the ledger depend on every load, because each load writes to the ledger."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        parents = manifest["parent_map"].get(unique_id, [])
        loaders = {manifest["sources"][parent]["loader"] for parent in parents if parent.startswith("source.")}
        if loaders and "bin/ingest" not in loaders:
            spec = spec.replace_attributes(deps=[key_of(entity) for entity in resources.entities().values()])
        return spec


def build_assets() -> dg.AssetsDefinition:
    """Return the step that builds and tests the selected part of the dbt project."""
    manifest = read_manifest()

    @dbt_assets(manifest=manifest, dagster_dbt_translator=Translator(), name="build")
    def build(context: dg.AssetExecutionContext, dbt: DbtCliResource, granary: Granary) -> Iterator[Any]:
        resources.prepare_raw()
        specs = {spec.key.to_python_identifier(): spec for spec in context.assets_def.specs}
        # In dbt's own target folder, where the quality report finds the results of tests.
        invocation = dbt.cli(["build", *selection(context, manifest)], context=context, target_path=target_directory())
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
                list(events)  # dagster-dbt reports an error if the rest of the events isn't read
            raise

    return build


def built(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row count and a preview of a table. Views are left out, because counting would compute them."""
    if node["config"]["materialized"] == "view":
        return {}
    with resources.reading() as cursor:
        return resources.described(cursor, sql.Identifier(node["schema"], node["alias"]))
