"""What scripts share: the project's place, its settings, errors that a user can put right, and files that are whole."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

import dotenv

ROOT = Path(__file__).resolve().parents[2]
TEST_RESULTS = "test_results.json"  # beside dbt's artifacts: those of the last command that ran tests


def load_env() -> None:
    """Read ROOT/.env, if there is one. Variables that are set already win."""
    try:
        dotenv.load_dotenv(ROOT / ".env", override=False)
    except PermissionError:
        raise GranaryError(f"{ROOT / '.env'} can't be read: do this as its owner, or keep settings elsewhere") from None


def target_directory() -> Path:
    """Return where dbt writes its artifacts: dbt/target, or where DBT_TARGET_PATH says."""
    return ROOT / "dbt" / (os.environ.get("DBT_TARGET_PATH") or "target")


class GranaryError(Exception):
    """Something that the user can put right; the message says where it is and how."""


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's main function and exit with its code: a GranaryError becomes `error: ...` and exit code 1."""
    try:
        sys.exit(main())
    except GranaryError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes its name, in place of another one, when it is complete, and is gone if it never is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_packages(part: str, target: str, *names: str) -> None:
    """Raise GranaryError if a package of requirements/PART.txt isn't installed. `target` of make would install it."""
    if missing := [name for name in names if not importlib.util.find_spec(name)]:
        install = f"make {target}, or .venv/bin/python -m pip install -r requirements/{part}.txt"
        raise GranaryError(f"this needs {', '.join(missing)}, which isn't installed:  {install}")


def check_address(host: str, port: int) -> None:
    """Raise GranaryError if nothing can be served at an address; a server would be wordy about it."""
    if not 0 < port < 65536:
        raise GranaryError(f"--port {port} is no port; choose one from 1 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise GranaryError(f"can't serve at {host}, port {port}: {reason}; choose with --host and --port") from None
