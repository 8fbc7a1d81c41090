#!/usr/bin/env bash
# Runs a module of this project's virtual environment.
#
# usage: scripts/in_venv.sh <module, such as granary.loader.ingest or ruff> [argument ...]
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

case ${1:---help} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac

if ! [ -x "$root/.venv/bin/python" ]; then
    echo "error: the project isn't set up yet; first run:  make -C \"$root\" setup" >&2
    exit 1
fi
unset PYTHONHOME PYTHONPATH # they may be set for another Python
export PYTHONSAFEPATH=1     # don't import from the current directory (ignored by Python 3.10)

exec "$root/.venv/bin/python" -m "$1" "${@:2}"
