#!/usr/bin/env bash
# Restores the initial state: drops the warehouse's schemas and loads the initial data again.
#
# usage: scripts/reset.sh [--yes]
#   --yes    don't ask before dropping schemas on your own server (PGHOST)
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

case ${1:-} in
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;;
    --yes | "") ;;
    *) echo "error: unknown option $1; see scripts/reset.sh --help" >&2 && exit 1 ;;
esac

where=$("$root/bin/warehouse" status) || [ $? -eq 3 ] # 3: stopped; started below
if [ -z "${1:-}" ] && [[ $where != *"embedded"* ]]; then
    printf '%s\nDrop the schemas raw, staging, intermediate and marts there, with all their data? [y/N] ' "$where"
    read -r answer || true
    [[ ${answer:-} == [yY]* ]] || { echo "nothing was changed" && exit 1; }
fi

"$root/scripts/in_venv.sh" granary.reset
"$root/bin/load-initial"
has_roles="select 1 from pg_roles where rolname = 'granary_reader'" # its rights were dropped with the schemas
[ -z "$("$root/bin/warehouse" psql --no-psqlrc --tuples-only --command "$has_roles")" ] || "$root/bin/warehouse" roles
