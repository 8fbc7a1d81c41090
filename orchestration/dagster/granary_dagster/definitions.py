"""Dagster's code location: what it loads is `defs`."""

import dagster as dg

from granary.extract import extractors
from granary.project import load_env
from granary_dagster import triggers
from granary_dagster.building import build_assets, dbt_resource
from granary_dagster.extracting import extract_feed
from granary_dagster.loading import load_assets
from granary_dagster.resources import Granary

load_env()

defs = dg.Definitions(
    assets=[*map(extract_feed, extractors()), *load_assets(), build_assets()],
    jobs=triggers.jobs,
    schedules=triggers.schedules,
    sensors=[triggers.new_files],
    resources={"granary": Granary(), "dbt": dbt_resource()},
    executor=dg.in_process_executor,
)
