#!/usr/bin/env bash
# Shows what the warehouse holds: rows per feed, a look at the marts of each feed, and what to try next. It only reads.
#
# usage: scripts/summary.sh        (or: make summary)
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

case ${1:-} in
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;;
    "") ;;
    *) echo "error: unknown option $1; see scripts/summary.sh --help" >&2 && exit 1 ;;
esac

engine=$("$root/scripts/in_venv.sh" granary.engines)
if [ "$engine" != postgres ]; then
    query="bin/warehouse sql 'select * from marts.rejected_rows limit 5'     with GRANARY_ENGINE=$engine"
    [ "$engine" != spark ] || query="bin/spark-submit JOB   run a job of yours, such as those in jobs"
    cat <<TEXT

To try    $query
          bin/diff $engine    compare the marts with those of PostgreSQL, once it has built them
          docs/engines.md        what $engine can do, and what it can't
TEXT
    exit
fi

cd "$root" # psql's variables take no path with a quote in it
for feed in scripts/granary/feeds/*/summary.sql; do # of each feed that has one
    [ ! -f "$feed" ] || files+=(--file "$feed")
done
show() {
    LC_NUMERIC=C PGCLIENTENCODING=UTF8 bin/warehouse psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
        --set VERBOSITY=verbose --pset pager=off --pset footer=off --pset linestyle=unicode --pset numericlocale=on \
        --file scripts/granary/reports/summary.sql "${files[@]+"${files[@]}"}"
}
# PostgreSQL's codes for a column that is missing, and for a function that does not take its type
other_version=': +42(703|883): ([^'$'\n'']*)'
# Python makes visible what values could do to a terminal.
exec 4> >(scripts/in_venv.sh granary.text)
printer=$!
{ problem=$(show 2>&1 >&4) || code=$?; }
exec 4>&-
wait "$printer"
if [[ $problem =~ $other_version ]]; then
    problem="error: the marts were built by another version of the project (${BASH_REMATCH[2]}):"
    problem+=" run bin/dbt build --full-refresh"
fi
[ -z "$problem" ] || printf '%s\n' "$problem" >&2
[ -z "${code:-}" ] || exit "$code"

written() { [ -f "$2" ] && echo "$root/$2" || echo "not written yet: make $1"; }
cat <<TEXT
Docs      $(written docs dbt/target/static_index.html)
Quality   $(written report output/quality_report.html)

To try    bin/warehouse psql -c 'select * from marts.rejected_rows limit 5'
          bin/report --list      the marts; each can be written to a file
          bin/ingest --help      load a batch of your own
          make dashboard         the marts in a browser
${files:+          make notebook          charts of the sample, in JupyterLab
}          make test              run the tests
          make help              everything else
TEXT
