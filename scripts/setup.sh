#!/usr/bin/env bash
# Prepares the virtual environment in .venv. Takes no time if there is nothing to do. uv installs the packages, in seconds;
# where it can't, or pip's settings name an index, pip does, in minutes.
#
# usage: scripts/setup.sh [--PART]
#   --PART       also install requirements/PART.txt, such as --dev (for tests and checks) or --notebook
#   --airflow    prepare .venv-airflow instead, the environment of Airflow
#   --spark      prepare .venv-spark instead, the environment of Spark, with the jars of spark/jars.txt
#
# PYTHON is the interpreter to use; the default is the first suitable one of python3, python3.13 ... python3.10.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
venv=$root/.venv
requirements=("$root/requirements.txt")
UV='uv>=0.11,<1' # not in requirements.txt, because it has to be there first

case ${1:-} in
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;;
    "") ;;
    --airflow | --spark) venv=$root/.venv-${1#--} requirements=("$root/requirements/${1#--}.txt") ;;
    *)
        requirements+=("$root/requirements/${1#--}.txt")
        [ -f "${requirements[1]}" ] || { echo "error: unknown option $1; see scripts/setup.sh --help" >&2 && exit 1; }
        ;;
esac
unset PYTHONHOME PYTHONPATH

die() {
    echo "error: $1" >&2
    [ $# -eq 1 ] || printf '%s\n' "${@:2}" >&2
    exit 1
}

# A Python is suitable if it runs and dbt supports its version.
fits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# On Debian, both modules are in a separate package.
makes_venvs() {
    "$1" -c 'import venv, ensurepip' 2>/dev/null
}

# Prints the interpreter that a virtual environment was made from: the environment may be the one that is made anew here.
base_of() {
    "$1" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
}

find_python() {
    local candidate fitting=
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.10; do
        if fits "$candidate"; then
            fitting=${fitting:-$candidate}
            makes_venvs "$candidate" && base_of "$candidate" && return
        fi
        [ "$candidate" != "${PYTHON:-}" ] || break # that one or none
    done
    if [ -n "$fitting" ]; then
        version=$("$fitting" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        die "Python $version at $(command -v "$fitting") can't create virtual environments: it has no venv or no ensurepip" \
            "on Debian and Ubuntu, install them with:  apt-get install python$version-venv"
    fi
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not a working Python 3.10 to 3.13"
    die "no Python 3.10 to 3.13 was found (python3: $(python3 --version 2>/dev/null || echo missing))" \
        "install one, or name it: make PYTHON=/path/to/python3.12"
}

# An environment is sound if its creation was completed in this directory (its programs contain its path) and its Python
# still runs.
venv_is_sound() {
    [ "$(cat "$venv/granary-root" 2>/dev/null)" = "$root" ] && fits "$venv/bin/python"
}

create_venv() {
    local python
    python=$(find_python)
    echo "creating ${venv##*/} with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || die "the virtual environment could not be created in $venv"
    echo "$root" >"$venv/granary-root"
}

# Puts the project's own packages on the path of every Python process of the environment.
write_path() {
    local packages
    packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$root/scripts" "$root/serving" "$root/orchestration/airflow" "$root/orchestration/dagster" >"$packages/granary.pth"
}

# Each file has a stamp, written last, so that an interrupted set-up is repeated. It is a hash of all requirements, because
# files include others.
stamp() {
    cat "$root/requirements.txt" "$root"/requirements/*.txt | sha256sum | cut -d' ' -f1
}

is_installed() {
    [ "$(cat "$venv/granary-$(basename "$1")" 2>/dev/null)" = "$(stamp)" ]
}

install_with_pip() {
    "$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-input "$@"
}

# Prints the path of the user's uv, or else of one for this environment alone. There is none if pip's settings name an
# index: uv doesn't know them, and would ask the public one.
find_uv() {
    local settings
    settings=$("$venv/bin/python" -m pip config list)
    ! grep -Eq "[.:](index-url|extra-index-url|no-index)='[^']" <<<"$settings" || return
    command -v uv && return
    [ -x "$venv/bin/uv" ] || install_with_pip "$UV" || return
    echo "$venv/bin/uv"
}

# It trusts the certificates of the system, among which are those of a company's proxy. The packages are compiled, as pip does,
# because the programs that use them may not be able or allowed to write (PYTHONDONTWRITEBYTECODE), and dbt would start 3 s later.
install_with_uv() {
    local uv
    uv=$(find_uv) || return
    UV_SYSTEM_CERTS=1 "$uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" "$@"
}

install_requirements() {
    local file=$1 started=$SECONDS
    echo "installing $(basename "$file")"
    if ! install_with_uv --requirement "$file" 2>/dev/null; then
        echo "uv can't install ${file#"$root/"}, so pip does, which takes minutes"
        install_with_pip --requirement "$file" ||
            die "pip could not install ${file#"$root/"}: see its messages above, then run the command again"
    fi
    stamp >"$venv/granary-$(basename "$file")"
    echo "installed in $((SECONDS - started)) s"
}

# Only one set-up at a time; the lock is on the directory itself, so it leaves no file.
exec 9<"$root"
! command -v flock >/dev/null || flock 9

if ! venv_is_sound; then
    create_venv
fi
[ -f "$venv/granary-path" ] || { write_path && touch "$venv/granary-path"; }
for file in "${requirements[@]}"; do
    is_installed "$file" || install_requirements "$file"
done
[ "${1:-}" != --spark ] || "$venv/bin/python" -m granary.jars
