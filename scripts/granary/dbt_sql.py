"""The SQL that the project's macros give, for programs that run it themselves."""

from __future__ import annotations

import subprocess

from granary.project import ROOT, GranaryError

SEPARATOR = ";;;"


def compiled(texts: list[str]) -> list[str]:
    """Return the SQL for PostgreSQL of each text with calls of macros; dbt starts once for all of them.

    Raises GranaryError with the end of what dbt says if it can't compile them.
    """
    inline = f"\n{SEPARATOR}\n".join(texts)
    command = [ROOT / "bin" / "dbt", "--quiet", "compile", "--target", "postgres", "--inline", inline]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise GranaryError(f"dbt could not compile the macros: {done.stdout[-300:]}{done.stderr[-300:]}")
    return done.stdout.split(SEPARATOR)
