"""Serve the dashboard (serving/dashboard) to browsers, until Ctrl-C.

    bin/dashboard
    bin/dashboard --port 8600

It only reads the marts, opens no browser, and makes no requests to the network. Anyone who reaches the port sees all
marts, so put a proxy with a log-in in front of it for other hosts: see docs/dashboard.md. Set other options of
Streamlit in the environment (STREAMLIT_SERVER_BASE_URL_PATH=granary).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from granary.project import check_address, check_packages, load_env, run_main

SETTINGS = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",  # a traceback is for the log
    "client.toolbarMode": "minimal",
    "global.developmentMode": "false",
    "server.fileWatcherType": "none",
    "server.headless": "true",  # opens no browser, asks for no e-mail address
    "theme.primaryColor": "#1f5a96",
}


def main() -> NoReturn:
    """Become Streamlit's server."""
    options = parse_arguments()
    load_env()
    check_packages("dashboard", "dashboard", "streamlit")
    check_address(options.host, options.port)
    settings = SETTINGS | {
        "server.address": options.host,
        "server.port": str(options.port),
        # The address that it prints; for all addresses it would ask the internet which one is this machine's.
        "browser.serverAddress": "localhost" if options.host in ("0.0.0.0", "::") else options.host,
    }
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    app = str(Path(__file__).with_name("app.py"))
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", app, *arguments])


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/dashboard", description=__doc__, formatter_class=as_written)
    parser.add_argument("--host", metavar="H", default="127.0.0.1", help="address to serve (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="N", type=int, default=8501, help="default: 8501")
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
