"""Runs one job in this process, and says what became of it: bin/dagster run."""

import os
import sys

import dagster as dg
import psutil

from granary_dagster.definitions import defs
from project import GranaryError, run_main

PID = "granary/pid"  # tag of a run: the process that it is in
SETTINGS = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # what matters is said below


def main() -> int:
    """Run the job that the command line names; return 1 if it failed, else 0."""
    name = sys.argv[1]
    with dg.DagsterInstance.get() as instance:
        report_lost_runs(instance)
        job = defs.resolve_job_def(name)
        done = job.execute_in_process(
            run_config=SETTINGS, instance=instance, tags={PID: str(os.getpid())}, raise_on_error=False
        )
        for event in done.all_events:
            show(event)
        checks = done.get_asset_check_evaluations()
        print(
            f"dagster run {name}: {len(done.get_asset_materialization_events())} assets,"
            f" {sum(check.passed for check in checks)} checks passed, {sum(not check.passed for check in checks)} not:"
            f" {'passed' if done.success else 'failed'} (run {done.run_id})"
        )
    return 0 if done.success else 1


def report_lost_runs(instance: dg.DagsterInstance) -> None:
    """Call runs failed whose process is gone: it was killed, and could not say so itself."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])):
        if PID in run.tags and not psutil.pid_exists(int(run.tags[PID])):
            instance.report_run_failed(run, f"its process {run.tags[PID]} is gone")
            print(f"run {run.run_id} was killed; this one goes on where it ended")


def show(event: dg.DagsterEvent) -> None:
    """Print how a step ended, and each check that did not pass."""
    if event.is_step_success:
        print(f"passed   {event.step_key}")
    elif event.is_step_skipped or event.is_step_failure:
        print(f"{'failed' if event.is_step_failure else 'skipped'}   {event.step_key}")
    if event.is_step_failure:
        print(event.step_failure_data.error_display_string, file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
