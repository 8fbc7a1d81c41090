"""Child processes: the project's commands, as other parts of it run them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

from granary.project import ROOT, GranaryError

SHOWN_LINES = 3  # of a command that failed without a line that begins with `error:`


def run(*command: str, echo: bool = True) -> list[str]:
    """Run a command of the project, such as bin/ingest, and return its lines; `echo` prints them as they come.

    Raises GranaryError if it fails: with its errors or its last lines; without `echo`, with all of them. The command
    ends when this process does.
    """
    lines = []
    with subprocess.Popen(
        [*tied(), str(ROOT / command[0]), *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if echo:
                    print(lines[-1], flush=True)
        except BaseException:  # such as Ctrl-C
            process.terminate()
            raise
    if process.returncode:
        errors = [line for line in lines if line.startswith("error:")] or lines[-SHOWN_LINES:]
        shown = "\n".join(errors if echo else lines)
        raise GranaryError(f"{command[0]} failed with exit code {process.returncode}:\n{shown}")
    return lines


def tied(name: str = "TERM") -> list[str]:
    """Return a prefix for a command that sends it a signal when this process ends; empty where setpriv is missing."""
    return ["setpriv", "--pdeathsig", name] if shutil.which("setpriv") else []


def end_in_order() -> None:
    """Let signals end this process with an exception, so that it can end what it has started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets commands that end with `&` ignore it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
