"""Feeds that bin/extract can fetch: those that have an extract.py in scripts/granary/feeds."""

import dagster as dg
from pydantic import Field

from granary_dagster.resources import Granary, landing_files


class Extraction(dg.Config):
    """What to fetch."""

    arguments: list[str] = Field([], description="options of bin/extract <feed>; its --help lists them")


def extraction_key(feed: str) -> dg.AssetKey:
    """Return the key of the asset that stands for the fetched files of a feed."""
    return dg.AssetKey(["extract", feed])


def extract_feed(feed: str) -> dg.AssetsDefinition:
    """Return the asset that fetches a feed. Files fetched before a failure stay, and the next load takes them."""

    @dg.asset(
        key=extraction_key(feed),
        group_name="extract",
        kinds={"python"},
        description=f"Landing files of {feed}, fetched by `bin/extract {feed}`.",
    )
    def extract(context: dg.AssetExecutionContext, config: Extraction, granary: Granary) -> dg.MaterializeResult:
        before = {file.path for file in landing_files()}
        granary.run(context, "bin/extract", feed, *config.arguments)
        new = [file for file in landing_files() if file.path not in before]
        return dg.MaterializeResult(
            metadata={
                "batches": "\n".join(file.relative for file in new),
                "bytes": sum(file.path.stat().st_size for file in new),
            }
        )

    return extract
