"""The market feed comes from an API; the files of the other feeds are delivered."""

import os
from pathlib import Path

import dagster as dg
from pydantic import Field

from granary.project import ROOT
from granary_dagster.resources import Granary, landing_files

FETCHED = {"market": dg.AssetKey(["market", "coingecko"])}  # by feed, what fetches it


class Extraction(dg.Config):
    """What to fetch. Days that were missed are fetched by asking for more of them: those that overlap do no harm."""

    coins: list[str] = Field([], description="CoinGecko's ids; empty: the largest ones")
    top: int = Field(100, ge=1, description="how many of the largest ones")
    days: int = Field(30, ge=1, le=365, description="of daily prices")


@dg.asset(
    key=FETCHED["market"],
    group_name="extract",
    kinds={"python"},
    description="Payloads and batches of the market feed, fetched from the CoinGecko API by bin/extract.",
)
def extract_market(context: dg.AssetExecutionContext, config: Extraction, granary: Granary) -> dg.MaterializeResult:
    """Fetch what the config names. What was fetched before a failure is kept, and the next load takes it."""
    before = {file.path for file in landing_files()}
    which = ["--coins", ",".join(config.coins)] if config.coins else ["--top", str(config.top)]
    granary.run(context, "bin/extract", *which, "--days", str(config.days))
    new = [file for file in landing_files() if file.path not in before]
    return dg.MaterializeResult(
        metadata={
            "batches": "\n".join(file.relative for file in new),
            "bytes": sum(file.path.stat().st_size for file in new),
            "payloads": dg.MetadataValue.path(
                Path(ROOT / (os.environ.get("GRANARY_DATA") or "data"), "raw", "coingecko")
            ),
        }
    )
