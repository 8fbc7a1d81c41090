"""Which engine builds the models, and where the others keep data: in the lake, a file of DuckDB, a folder of Spark."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from granary import project
from granary.project import GranaryError, run_main

ENGINES = ("postgres", "duckdb", "spark")
LEFT_OUT = {"duckdb": [], "spark": ["--exclude-resource-type", "unit_test"]}  # by `make`: fixtures aren't SQL of Spark
READS_LAKE = {"build", "retry", "run", "run-operation", "seed", "test"}
SPARK = project.ROOT / "spark"  # settings and jars
VENV_OF_SPARK = project.ROOT / ".venv-spark"
DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


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


def check_postgres(program: str) -> None:
    """Raise GranaryError if GRANARY_ENGINE names another engine than PostgreSQL, on which a program builds."""
    if chosen() != "postgres":
        raise GranaryError(
            f"{program} builds on PostgreSQL only, and GRANARY_ENGINE is {chosen()}: unset it (docs/engines.md)"
        )


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


def spark_folder() -> Path:
    """Return where a Spark on one machine keeps its tables and its catalog."""
    return project.ROOT / (os.environ.get("GRANARY_SPARK") or "lakehouse")


def spark_format() -> str:
    """Return the format of Spark's tables: delta, unless its jar isn't there."""
    has_delta = any(VENV_OF_SPARK.glob("lib/python*/site-packages/pyspark/jars/delta-spark_*.jar"))
    return os.environ.get("GRANARY_SPARK_FORMAT") or ("delta" if has_delta else "parquet")


def spark_options() -> list[str]:
    """Return the options of spark-submit by which a Spark on one machine finds its tables."""
    folder = spark_folder()
    catalog = f"jdbc:derby:;databaseName={folder / 'catalog'};create=true"
    options = {"spark.sql.warehouse.dir": folder.as_uri(), "spark.hadoop.javax.jdo.option.ConnectionURL": catalog}
    options |= DELTA if spark_format() == "delta" else {}
    return [part for name, value in options.items() for part in ("--conf", f"{name}={value}")]


def spark_settings() -> dict[str, str]:
    """Return the variables by which a Spark on one machine starts."""
    return {
        "GRANARY_SPARK": str(spark_folder()),
        "GRANARY_SPARK_FORMAT": spark_format(),
        "SPARK_CONF_DIR": str(SPARK / "conf"),
        "PYSPARK_SUBMIT_ARGS": shlex.join([*spark_options(), "pyspark-shell"]),
        "SPARK_LOCAL_IP": os.environ.get("SPARK_LOCAL_IP") or "127.0.0.1",  # of this machine only
    }


def enter_venv_of_spark(line: list[str]) -> None:
    """Replace this process by bin/dbt in the environment of Spark, unless it runs there."""
    if Path(sys.prefix) != VENV_OF_SPARK:
        check_spark()
        python = str(VENV_OF_SPARK / "bin" / "python")
        os.execv(python, [python, "-m", "granary.dbt", *line])


def wait_for_spark() -> None:
    """Wait until no other process uses the catalog of a Spark on one machine, keep it, and create it if need be."""
    folder = spark_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)  # held until the process ends
    except OSError as error:
        raise GranaryError(f"can't write to {folder}: {error.strerror} (GRANARY_SPARK names the place)") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process, which uses {folder} ...", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    if not (folder / "catalog").exists():
        create_catalog()


def create_catalog() -> None:
    """Create the catalog of a Spark on one machine, for views of any length: it would take 32,700 characters."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.enableHiveSupport().getOrCreate()
    spark.sql("show tables").collect()
    connection = spark._jvm.java.sql.DriverManager.getConnection(
        f"jdbc:derby:;databaseName={spark_folder() / 'catalog'}"
    )
    for column in ("VIEW_ORIGINAL_TEXT", "VIEW_EXPANDED_TEXT"):
        statement = connection.createStatement()
        statement.execute(f'alter table TBLS drop column "{column}"')
        statement.execute(f'alter table TBLS add column "{column}" clob')
    connection.close()


def check_spark() -> None:
    """Raise GranaryError if Spark isn't installed, or Java is missing."""
    if not (VENV_OF_SPARK / "bin" / "python").exists():
        raise GranaryError("Spark isn't installed: run scripts/setup.sh --spark")
    if not (os.environ.get("GRANARY_SPARK_HOST") or os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise GranaryError("Spark needs Java 17 or 21, and there is no `java`: install it, or set JAVA_HOME")


def prepare(engine: str, command: str, arguments: list[str], line: list[str]) -> list[str]:
    """Make an engine other than PostgreSQL ready for a command of dbt; return the command's arguments.

    `line` are the arguments of bin/dbt that do the same: with Spark, it runs in an environment of its own.
    """
    if engine == "duckdb":
        project.check_packages("engines", None, "dbt.adapters.duckdb")
        wait_for_duckdb()
        return arguments
    if command in READS_LAKE and "://" not in lake() and not Path(lake(), "raw", "_batches").exists():
        raise GranaryError(f"the lake {lake()} is empty: load and export first: bin/ingest && bin/lake")
    enter_venv_of_spark(line)
    if not os.environ.get("GRANARY_SPARK_HOST"):
        wait_for_spark()
    if spark_format() == "parquet" and command in ("build", "run") and "--full-refresh" not in arguments:
        print("Spark's tables are plain Parquet files, so all models are built from scratch", flush=True)
        return [*arguments, "--full-refresh"]
    return arguments


def settings(engine: str) -> dict[str, str]:
    """Return the variables by which dbt builds with an engine. The artifacts of another one are kept apart."""
    if engine == "postgres":
        return {}
    target = os.environ.get("DBT_TARGET_PATH") or f"target_{engine}"
    own = spark_settings() if engine == "spark" else {"GRANARY_DUCKDB": duckdb_file()}
    return {"GRANARY_ENGINE": engine, "GRANARY_LAKE": lake(), "DBT_TARGET_PATH": target, **own}


def main() -> None:
    """Print the engine in use, for shell scripts."""
    project.load_env()
    print(chosen())


if __name__ == "__main__":
    run_main(main)
