"""The landing tables: one step per feed, which checks the new files and loads them if they pass."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import dagster as dg

from granary.declared import Entity
from granary.extract import extractors
from granary.loader import raw_tables
from granary_dagster import resources
from granary_dagster.extracting import extraction_key
from granary_dagster.rehearsal import CHECKS, Batch, Limits, judge, rehearse
from granary_dagster.resources import Granary, key_of


def load_assets() -> list[dg.AssetsDefinition]:
    """Return a step for each declared feed. Its assets have the keys of the dbt sources: <feed>/<entity>."""
    feeds = defaultdict(list)
    for entity in resources.entities().values():
        feeds[entity.feed].append(entity)
    return [load_feed(feed, entities) for feed, entities in feeds.items()]


def load_feed(feed: str, entities: list[Entity]) -> dg.AssetsDefinition:
    """Return the step that loads a feed."""
    is_fetched = feed in extractors()
    names = [name for name in CHECKS if name != "row_count" or not is_fetched]  # a fetch has as many rows as asked for
    checks = [
        dg.AssetCheckSpec(name, asset=key_of(entity), description=CHECKS[name], blocking=True)
        for entity in entities
        for name in names
    ]
    specs = [
        dg.AssetSpec(
            key_of(entity),
            deps=[extraction_key(feed)] if is_fetched else [],
            description=f"`raw.{entity.table}`: all delivered rows, as text.",
            metadata={"docs": resources.docs_link(f"source.granary.{feed}.{entity.name}")},
            kinds={"postgres"},
            skippable=True,
        )
        for entity in entities
    ]

    @dg.multi_asset(name=f"load_{feed}", specs=specs, check_specs=checks, can_subset=True, group_name="raw")
    def load(context: dg.AssetExecutionContext, config: Limits, granary: Granary) -> Iterator[Any]:
        resources.prepare_raw()
        for problem in resources.onboard(feed):  # which costs only the brand
            context.log.error(problem)
        checked = {check.asset_key for check in context.selected_asset_check_keys} | context.selected_asset_keys
        batches = rehearse(
            [file for file in resources.landing_files() if file.entity and key_of(file.entity) in checked]
        )
        bad = []
        for entity in entities:
            judged = judge([batch for batch in batches if batch.file.entity == entity], config)
            for name in names:
                lines, severity = judged[name]
                if dg.AssetCheckKey(key_of(entity), name) in context.selected_asset_check_keys:
                    yield dg.AssetCheckResult(
                        asset_key=key_of(entity),
                        check_name=name,
                        passed=not lines,
                        severity=severity,
                        metadata={"problems": "\n".join(lines)} if lines else {},
                    )
                bad += lines if severity == dg.AssetCheckSeverity.ERROR else []
        if bad:  # a blocking check would fail this step only at its end
            raise dg.Failure(f"nothing of {feed} was loaded:\n" + "\n".join(bad), allow_retries=False)
        to_load = [batch for batch in batches if key_of(batch.file.entity) in context.selected_asset_keys]
        if to_load:
            granary.run(context, "bin/ingest", *[batch.file.relative for batch in to_load])
        for entity in entities:
            if key_of(entity) in context.selected_asset_keys:
                yield dg.MaterializeResult(
                    asset_key=key_of(entity), metadata=loaded(entity, [b for b in to_load if b.file.entity == entity])
                )

    return load


def loaded(entity: Entity, batches: list[Batch]) -> dict[str, Any]:
    """Return the metadata of an entity's table after a load of these batches."""
    with resources.reading() as cursor:
        table = raw_tables.raw(entity.table)
        return {
            "new_files": len(batches),
            "new_rows": sum(batch.rows - batch.rejected_lines for batch in batches),
            "new_bytes": sum(batch.file.path.stat().st_size for batch in batches),
            "rejected_lines": sum(batch.rejected_lines for batch in batches),
            "rejected_rows": sum(batch.rejected_rows for batch in batches),
            **resources.described(cursor, table, "order by _row_id desc"),
        }
