"""The warehouse as Dagster sees it: an asset per raw table, dbt model and seed; jobs, schedules and a sensor.

Thin on purpose: every step runs a command of bin/, so that a run of Dagster and a run of make do the same. No module
here postpones its annotations (`from __future__ import annotations`): Dagster reads them.
"""
