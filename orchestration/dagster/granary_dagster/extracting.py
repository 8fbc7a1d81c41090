"""Feeds that bin/extract can fetch: those that have an extract.py in scripts/granary/feeds."""

import dagster as dg
from pydantic import Field

from granary import declared
from granary.project import ROOT
from granary_dagster.resources import Granary, landing_files


class Extraction(dg.Config):
    """What to fetch."""

    arguments: list[str] = Field([], description="options of bin/extract <feed>; its --help lists them")


def fetched_feeds() -> list[str]:
    """Return the declared feeds that bin/extract can fetch, sorted."""
    return [feed for feed in declared.feeds() if (ROOT / "scripts/granary/feeds" / feed / "extract.py").exists()]


def extraction_key(feed: str) -> dg.AssetKey:
    """Return the key of the asset that stands for the fetched files of a feed."""
    return dg.AssetKey(["extract", feed])


def extract_assets() -> list[dg.AssetsDefinition]:
    """Return an asset for each feed that is fetched."""
    return [extract_feed(feed) for feed in fetched_feeds()]


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
