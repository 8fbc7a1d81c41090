#!/usr/bin/env bash
# Runs a program of this project's virtual environment.
#
# usage: scripts/in_venv.sh <script.py in scripts/ | program of the environment> [argument ...]
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

case ${1:---help} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac

if ! [ -x "$root/.venv/bin/python" ]; then
    echo "error: the project isn't set up yet; run this first:  make -C \"$root\" setup" >&2
    exit 1
fi
unset PYTHONHOME PYTHONPATH # another Python's, if set

case $1 in
    *.py) exec "$root/.venv/bin/python" "$root/scripts/$1" "${@:2}" ;;
    *) exec "$root/.venv/bin/python" -m "$1" "${@:2}" ;;
esac
