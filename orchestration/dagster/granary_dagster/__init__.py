"""The warehouse in Dagster: an asset for each landing table, dbt model and seed; jobs, schedules and a sensor.

Each step runs a command of bin/, so a run in Dagster does the same as `make`. Modules that define assets must not
postpone their annotations (`from __future__ import annotations`), because Dagster evaluates them.
"""
