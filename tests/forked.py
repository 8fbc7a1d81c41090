"""Runs commands of the project in forks of a process that has imported dbt: that takes each of them two seconds.

Apart from that, a command is a process as always: with arguments, environment, output and exit code of its own. And
where it has no artifacts yet, dbt finds what it has parsed for this database before, and parses only what differs.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import hashlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MODULES = {"bin/dbt": "granary.dbt", "bin/update": "granary.update"}  # the commands that import dbt


def run(command: list[str], root: Path, env: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command, one of MODULES with its arguments, in the project at `root`; return what it did, with its output.

    Raises subprocess.TimeoutExpired after `timeout` seconds.
    """
    with parsed_before(root, env):
        return fork(command, root, env, timeout)


@contextlib.contextmanager
def parsed_before(root: Path, env: dict[str, str]) -> Iterator[None]:
    """Give new artifacts what dbt has parsed before, and keep what it parses."""
    parsed = root / "dbt" / env.get("DBT_TARGET_PATH", "target") / "partial_parse.msgpack"
    configuration = hashlib.md5((root / "dbt" / "dbt_project.yml").read_bytes()).hexdigest()
    names = ("PGHOST", "PGDATABASE", "GRANARY_SCHEMA_PREFIX", "DBT_PACKAGES_INSTALL_PATH")
    kept = Path(kept_parses(), "|".join([configuration, *(env.get(name, "") for name in names)]).replace("/", "%"))
    if kept.exists() and not parsed.exists():
        parsed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kept, parsed)
    yield
    if parsed.exists():
        shutil.copy(parsed, kept)


@functools.cache
def kept_parses() -> str:
    """Return the directory of what dbt has parsed."""
    directory = tempfile.TemporaryDirectory(prefix="granary-parsed-")
    atexit.register(directory.cleanup)
    return directory.name


def fork(command: list[str], root: Path, env: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Have the process below fork, and wait for the command."""
    with contextlib.ExitStack() as files:
        request, out, err = (files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3))
        json.dump({"command": command, "root": str(root), "env": env, "directory": str(Path.cwd())}, request)
        request.flush()
        here, there = socket.socketpair()
        with here, there:
            socket.send_fds(forker(), [b"."], [file.fileno() for file in (request, out, err, there)])
            there.close()
            pid = int(here.recv(20))
            here.settimeout(timeout)
            try:
                code = int(here.recv(20))
            except TimeoutError as error:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout) from error
        output = []
        for file in (out, err):
            file.seek(0)
            output.append(file.read())
        return subprocess.CompletedProcess(command, code, *output)


@functools.cache
def forker() -> socket.socket:
    """Start the process that forks; return the socket that takes requests. Once it is closed, the process ends."""
    here, there = socket.socketpair()
    with there:
        process = subprocess.Popen([sys.executable, __file__, str(there.fileno())], pass_fds=[there.fileno()])
    atexit.register(process.wait)
    atexit.register(here.close)  # which comes first
    return here


def main() -> None:
    """Fork whenever a request arrives; in the fork, run its command and exit as it does."""
    import dbt.adapters.postgres
    import dbt.cli.main
    import dbt.task.build  # noqa: F401  (what makes the import slow)

    requests = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait below
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 1, 4)
        if not message:
            return
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    requests.close()
    request, out, err, reply = descriptors
    if pid := os.fork():
        os.write(reply, f"{pid:<20}".encode())
        _, status = os.waitpid(pid, 0)
        os.write(reply, f"{os.waitstatus_to_exitcode(status):<20}".encode())
        os._exit(0)
    os.close(reply)
    os.dup2(out, 1)
    os.dup2(err, 2)
    with os.fdopen(request) as file:
        file.seek(0)
        asked = json.load(file)
    os.chdir(asked["directory"])
    gc.disable()  # a sixth of a build's time; without it, dbt takes up to 1 GB of memory and ends before that hurts
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.path[0] = f"{asked['root']}/scripts"  # instead of this file's directory
    sys.argv[1:] = asked["command"][1:]
    runpy.run_module(MODULES[asked["command"][0]], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
