"""Serve the marts over HTTP: JSON, CSV and Parquet under /api/v1, and Swagger UI under /openapi/swagger.

    bin/api
    bin/api --host 0.0.0.0 --port 8080 --workers 4

Marts are served that have `config.meta.api` in their YAML; `/` lists them. Every request for rows needs a token:
bin/api-token create --name NAME. The server listens on this machine only, unless --host says otherwise, and without
TLS: put a reverse proxy in front of it. Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
from typing import Any

from api.tokens import ensure_roles
from granary.project import GranaryError, check_address, check_packages, load_env, run_main

THREADS = 4  # of a worker; each may hold one connection to the database


def main() -> int:
    """Serve until told to stop."""
    options = parse_arguments()
    load_env()
    check_packages("api", "api", "flask", "flask_swagger_ui", "gunicorn", "sqlalchemy", "pyarrow")
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
    """Run gunicorn. The application is created once, before the workers, so that a warning appears once."""
    from gunicorn.app.base import BaseApplication

    from api import app, database

    application = app.create_app(pool_size=THREADS)
    database.check_connection(application.extensions["engine"])
    settings = {
        "bind": f"[{options.host}]:{options.port}" if ":" in options.host else f"{options.host}:{options.port}",
        "workers": options.workers,
        "worker_class": "gthread",
        "threads": THREADS,
        "preload_app": True,
        "proc_name": "granary-api",
        "control_socket_disable": True,  # it would be a file in the project
    }

    class Server(BaseApplication):
        """gunicorn with these settings, which come from no file and no command line."""

        def load_config(self) -> None:
            for name, value in settings.items():
                if name in self.cfg.settings:  # older versions have no control socket
                    self.cfg.set(name, value)

        def load(self) -> Any:
            return application

    Server().run()


if __name__ == "__main__":
    run_main(main)
