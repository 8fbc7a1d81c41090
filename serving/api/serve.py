"""Serve the marts over HTTP: JSON, CSV and Parquet under /api/v1, and Swagger UI under /openapi/swagger.

    bin/api
    bin/api --host 0.0.0.0 --port 8080 --workers 4

Marts are served that have `config.meta.api` in their YAML; `/` lists them. Every request for rows needs a token:
bin/api-token create --name NAME. The server listens on this machine only, unless --host says otherwise, and without
TLS: put a reverse proxy in front of it. Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
import multiprocessing

from api.tokens import ensure_roles
from granary.project import GranaryError, check_address, check_packages, load_env, run_main

HEADER_SECONDS = 10  # to send the head of a request in
THREADS = 4  # of a worker; each may hold two connections to the database


def main() -> int:
    """Serve until told to stop."""
    options = parse_arguments()
    load_env()
    check_packages("api", "api", "flask", "flask_swagger_ui", "granian", "sqlalchemy", "pyarrow")
    check_address(options.host, options.port)
    ensure_roles()
    serve(options)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/api", description=__doc__, formatter_class=as_written)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--workers", type=int, default=2, help=f"processes of {THREADS} threads each (default: 2)")
    options = parser.parse_args()
    if options.workers < 1:
        raise GranaryError(f"invalid --workers {options.workers}: choose 1 or more")
    return options


def serve(options: argparse.Namespace) -> None:
    """Run granian: it reads requests without a thread, so clients that send slowly keep nobody waiting."""
    from granian import Granian
    from granian.http import HTTP1Settings

    from api import app, database

    application = app.create_app(pool_size=THREADS)
    database.check_connection(application.extensions["pools"])
    multiprocessing.set_start_method("fork")  # workers share the application, which can't be pickled
    server = Granian(
        "granary-api",
        address=options.host,
        port=options.port,
        interface="wsgi",
        workers=options.workers,
        blocking_threads=THREADS,
        http="1",
        websockets=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000),
        respawn_failed_workers=True,
    )
    server.serve(target_loader=lambda _: application)


if __name__ == "__main__":
    run_main(main)
