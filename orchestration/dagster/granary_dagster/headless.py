"""Runs one job in this process and prints its outcome: bin/dagster run."""

import os
import socket
import sys

import dagster as dg
import psutil

from granary.declared import NO_FEEDS
from granary.project import GranaryError, run_main
from granary_dagster import resources
from granary_dagster.definitions import defs

PROCESS = "granary/process"  # tag of a run
SETTINGS = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # print_outcome prints what matters


def main() -> int:
    """Run the job that the command line names; return 1 if it failed, else 0."""
    name = sys.argv[1]
    if name not in (names := [job.name for job in defs.jobs]):
        raise GranaryError(f"there is no job {name!r}; choose one of: {', '.join(names)}")
    if not resources.entities():
        print(NO_FEEDS)
    sys.stdout.reconfigure(line_buffering=True)  # keeps the order where both streams go to one file
    with dg.DagsterInstance.get() as instance:
        report_lost_runs(instance)
        job = defs.resolve_job_def(name)
        done = job.execute_in_process(
            run_config=SETTINGS, instance=instance, tags={PROCESS: this_process()}, raise_on_error=False
        )
        print_outcome(done)
    return 0 if done.success else 1


def this_process() -> str:
    """Return an identifier of this process: host, process id and start time."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


def is_gone(process: str) -> bool:
    """Return whether a process on this host has ended."""
    host, number, began = process.split()
    if host != socket.gethostname():
        return False
    try:
        return f"{psutil.Process(int(number)).create_time():.0f}" != began
    except psutil.NoSuchProcess:
        return True


def report_lost_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs as failed whose process was killed before it could do so itself."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])):
        if PROCESS in run.tags and is_gone(run.tags[PROCESS]):
            instance.report_run_failed(run, "its process is gone")
            print(f"run {run.run_id} was killed; this run continues from there")


def print_outcome(done: dg.ExecuteInProcessResult) -> None:
    """Print the checks that did not pass, the outcome of each step, and one line about the run."""
    checks = done.get_asset_check_evaluations()
    for check in checks:
        if not check.passed:
            problems = check.metadata.get("problems") or check.metadata.get("dagster_dbt/failed_row_count")
            details = f": {problems.value}" if problems else ""
            word = "warned" if check.severity == dg.AssetCheckSeverity.WARN else "failed"
            print(f"{word:<8} {check.asset_key.to_user_string()}, {check.check_name}{details}")
    ended = [event for event in done.all_events if event.is_step_success or event.is_step_failure]
    for event in ended:
        print(f"{'passed' if event.is_step_success else 'failed':<8} {event.step_key}")
        if event.is_step_failure:
            print(reason(event), file=sys.stderr)
    for step in sorted(set(done.job_def.graph.node_dict) - {event.step_key for event in ended}):
        print(f"not run  {step}")
    assets, failed = len(done.get_asset_materialization_events()), sum(not check.passed for check in checks)
    counts = f"{assets} assets, {len(checks)} checks, of which {failed} did not pass"
    print(f"dagster run {done.job_def.name}: {counts}: {'passed' if done.success else 'failed'} (run {done.run_id})")


def reason(event: dg.DagsterEvent) -> str:
    """Return why a step failed; the traceback is in Dagster's log of the run."""
    data = event.step_failure_data
    if data.user_failure_data:
        return data.user_failure_data.description
    error = data.error
    while error.cause:
        error = error.cause
    if error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
        return "interrupted"
    return error.message.strip()


if __name__ == "__main__":
    run_main(main)
