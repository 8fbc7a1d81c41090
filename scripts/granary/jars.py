"""Install the jars of spark/jars.txt into the environment of Spark: each is fetched once, and checked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyspark

from granary.engines import SPARK
from granary.project import run_main

INSTALLED = Path(pyspark.__file__).parent / "jars"


def main() -> int:
    """Fetch what is missing; return an exit code."""
    lines = [line.partition("#")[0].split() for line in (SPARK / "jars.txt").read_text().splitlines()]
    declared = {line[0]: line[1] for line in lines if line}
    if all(is_installed(INSTALLED / name_of(coordinates), sha256) for coordinates, sha256 in declared.items()):
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if not fetch([*declared], folder):
            print("the jars of spark/jars.txt can't be fetched: Spark will build all tables from scratch, as Parquet")
            print("If a mirror of Maven Central can be reached, name it: DEFAULT_ARTIFACT_REPOSITORY=https://...")
            return 0
        for coordinates, sha256 in declared.items():
            group, artifact, version = coordinates.split(":")
            fetched = Path(folder, "jars", f"{group}_{artifact}-{version}.jar")
            if not is_installed(fetched, sha256):
                print(f"error: {coordinates} isn't what spark/jars.txt says: its SHA-256 differs", file=sys.stderr)
                return 1
            fetched.replace(INSTALLED / name_of(coordinates))
    print(f"jars of Spark: {', '.join(map(name_of, declared))}")
    return 0


def name_of(coordinates: str) -> str:
    """Return the file name of a jar."""
    return "-".join(coordinates.split(":")[1:]) + ".jar"


def is_installed(path: Path, sha256: str) -> bool:
    """Return whether a jar is there and is the one that is meant."""
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def fetch(coordinates: list[str], folder: str) -> bool:
    """Have Spark fetch jars from Maven Central into a folder; return whether it could."""
    job = Path(folder, "nothing.py")
    job.touch()
    submit = [str(INSTALLED.parent / "bin" / "spark-submit"), "--packages", ",".join(coordinates)]
    settings = ["--conf", f"spark.jars.ivy={folder}", "--conf", "spark.ui.enabled=false"]
    environment = {name: value for name, value in os.environ.items() if name != "PYSPARK_SUBMIT_ARGS"}
    return subprocess.run([*submit, *settings, str(job)], env=environment, capture_output=True).returncode == 0


if __name__ == "__main__":
    run_main(main)
