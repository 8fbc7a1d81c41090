"""What all parts share: the project's root, its settings, errors for users, and files that are written atomically."""

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

from granary.text import printable

ROOT = Path(__file__).resolve().parents[2]
TEST_RESULTS = "test_results.json"  # beside dbt's artifacts: those of the last command that ran tests


def load_env() -> None:
    """Read ROOT/.env, if it exists. Variables that are already set take precedence."""
    try:
        dotenv.load_dotenv(ROOT / ".env", override=False)
    except PermissionError:
        raise GranaryError(f"can't read {ROOT / '.env'}: run this as its owner, or set variables instead") from None


def target_directory() -> Path:
    """Return the directory of dbt's artifacts: dbt/target, or DBT_TARGET_PATH."""
    return ROOT / "dbt" / (os.environ.get("DBT_TARGET_PATH") or "target")


def data_folder() -> Path:
    """Return the root of the delivered files: data, or GRANARY_DATA."""
    return ROOT / (os.environ.get("GRANARY_DATA") or "data")


def schema_prefix() -> str:
    """Return what the names of dbt's schemas begin with: GRANARY_SCHEMA_PREFIX, for a second copy beside the first."""
    return os.environ.get("GRANARY_SCHEMA_PREFIX") or ""


def marts_schema() -> str:
    """Return the name of the schema of marts."""
    return f"{schema_prefix()}marts"


class GranaryError(Exception):
    """An error that the user can fix; the message says what is wrong, where, and how to fix it."""


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a main function and exit with its code; print a GranaryError as `error: ...` and exit with 1."""
    try:
        sys.exit(main())
    except GranaryError as error:
        sys.exit("\n".join(map(printable, f"error: {error}".split("\n"))))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` when the block ends; on an exception, leave what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path, option: str) -> Iterator[BinaryIO]:
    """Yield a file as `replacing` does; raise a GranaryError that names the option for another place if it fails."""
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        reason = "a folder on the way is a file" if isinstance(error, FileExistsError) else error.strerror
        raise GranaryError(f"can't write {path}: {reason}; choose another place with {option}") from None


def is_installed(package: str) -> bool:
    """Return whether a package can be imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the one that it is in
        return False


def check_packages(part: str, target: str | None, *names: str) -> None:
    """Raise GranaryError if a package of requirements/PART.txt isn't installed; `make TARGET`, if any, installs it."""
    if missing := [name for name in names if not is_installed(name)]:
        install = f"{f'make {target}, or ' if target else ''}.venv/bin/python -m pip install -r requirements/{part}.txt"
        raise GranaryError(f"this needs {', '.join(missing)}, which isn't installed:  {install}")


def check_address(host: str, port: int) -> None:
    """Raise GranaryError if a server can't listen at an address; the server's own message would be long."""
    if not 0 < port < 65536:
        raise GranaryError(f"invalid port {port}: choose 1 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise GranaryError(f"can't serve at {host}, port {port}: {reason}; choose with --host and --port") from None
