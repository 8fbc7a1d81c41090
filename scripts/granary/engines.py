"""Which engine builds the models, and where the others find their data: the lake, and a file of DuckDB."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence

from granary import project
from granary.project import GranaryError, run_main

ENGINES = ("postgres", "duckdb")


def chosen(arguments: Sequence[str] = ()) -> str:
    """Return the engine that --target names, or else GRANARY_ENGINE. Other targets are those of PostgreSQL."""
    engine = os.environ.get("GRANARY_ENGINE") or "postgres"
    for place, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--target", "-t"):
            target = value or "".join(arguments[place + 1 : place + 2])
            engine = target if target in ENGINES else "postgres"
    if engine not in ENGINES:
        raise GranaryError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    return engine


def lake() -> str:
    """Return where the lake is: an absolute path, or the address of an object store."""
    place = os.environ.get("GRANARY_LAKE") or "lake"
    return place.rstrip("/") if "://" in place else str(project.ROOT / place)


def duckdb_file() -> str:
    """Return the path of DuckDB's file."""
    return str(project.ROOT / (os.environ.get("GRANARY_DUCKDB") or "granary.duckdb"))


def wait_for_duckdb() -> None:
    """Wait until no other process uses DuckDB's file: only one can write it, and dbt's message would be a traceback.

    Raises GranaryError if the file can't be opened for another reason.
    """
    import duckdb

    said = ""
    while True:
        try:
            duckdb.connect(duckdb_file()).close()
            return
        except duckdb.IOException as error:
            if "Conflicting lock" not in str(error):
                raise GranaryError(f"can't open {duckdb_file()}: {error}") from None
            holder = re.search(r"held in (.*?)\. See", str(error))
            if not said:
                said = f"waiting for {holder[1] if holder else 'another process'}, which uses {duckdb_file()} ..."
                print(said, file=sys.stderr, flush=True)
        time.sleep(0.5)


def settings(engine: str) -> dict[str, str]:
    """Return the variables by which dbt builds with an engine. The artifacts of another one are kept apart."""
    if engine == "postgres":
        return {}
    target = os.environ.get("DBT_TARGET_PATH") or f"target_{engine}"
    return {
        "GRANARY_ENGINE": engine,
        "GRANARY_LAKE": lake(),
        "GRANARY_DUCKDB": duckdb_file(),
        "DBT_TARGET_PATH": target,
    }


def main() -> None:
    """Print the engine in use, for shell scripts."""
    project.load_env()
    print(chosen())


if __name__ == "__main__":
    run_main(main)
