"""Run a job on Spark, with the warehouse in reach.

usage: bin/spark-submit [options of spark-submit] JOB [arguments]

The job finds the address of the warehouse in GRANARY_JDBC_URL. The embedded server is reached through its socket, so
nothing listens on the network. The settings are those of dbt's Spark (spark/conf), but --master names another one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlencode

from granary import engines, project
from granary.project import GranaryError, run_main
from granary.server.connection import environment

SOCKETS = "org.newsclub.net.unix.AFUNIXSocketFactory$FactoryArg"


def main() -> None:
    """Replace this process by spark-submit."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return
    job = arguments[0]
    if not job.startswith("-") and not Path(job).is_file():  # after options, spark-submit says so
        raise GranaryError(f"there is no job {job}: name a file of Python, or a jar")
    project.load_env()
    engines.check_spark()
    programs = engines.VENV_OF_SPARK / "bin"
    submit = str(programs / "spark-submit")
    variables = {"PYSPARK_PYTHON": str(programs / "python"), "GRANARY_JDBC_URL": jdbc_url()}
    os.environ |= engines.spark_settings() | variables
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"  # it looks for its Python there
    os.execv(submit, [submit, *engines.spark_options(), *arguments])


def jdbc_url() -> str:
    """Return the address of the warehouse for PostgreSQL's JDBC driver."""
    warehouse = environment()
    host, port = warehouse["PGHOST"], warehouse["PGPORT"]
    options = {"user": warehouse["PGUSER"], "password": warehouse.get("PGPASSWORD", "")}
    if host.startswith("/"):
        options |= {"socketFactory": SOCKETS, "socketFactoryArg": f"{host}/.s.PGSQL.{port}", "sslMode": "disable"}
        host = "localhost"
    given = urlencode({name: value for name, value in options.items() if value})
    return f"jdbc:postgresql://{host}:{port}/{warehouse['PGDATABASE']}?{given}"


if __name__ == "__main__":
    run_main(main)
