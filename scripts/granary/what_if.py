"""Show what a decision would change, before anything is done.

usage: bin/what-if [--unmerge A:B] [--merge A:B] [--without-batch NUMBER] [--seed NAME=FILE] [MART ...] [--rows N]
       bin/what-if --unmerge A:B --apply --because TEXT

The marts are built in a copy, as if A had not been merged into B (--unmerge), A had been merged into B as well, a
batch had not been delivered, or a seed had the rows of a file, and compared with the warehouse: which rows, ids and
sums move.
Each option may be repeated. --apply writes the merges to be ignored, with the reason, into the seed of the project that
holds such decisions; `make` builds it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter

from granary import apart, copies, dbt, diff, last_build
from granary.circumstances import Circumstances, merge_of, read_seeds, seed_files
from granary.project import ROOT, GranaryError, replacing, run_main
from granary.server.connection import connect
from granary.text import counted, printable
from granary.update import changes_since

NAME = "what_if"  # of the copy


def main() -> int:
    """Compare the warehouse with what it would be, or apply a decision; return an exit code."""
    parser = ArgumentParser("bin/what-if", SUPPRESS, __doc__, formatter_class=RawDescriptionHelpFormatter)
    for option in ("--unmerge", "--merge", "--seed"):
        parser.add_argument(option, action="append", default=[], help=SUPPRESS)
    parser.add_argument("--without-batch", action="append", type=int, default=[], help=SUPPRESS)
    parser.add_argument("marts", nargs="*", help=SUPPRESS)
    parser.add_argument("--rows", type=int, default=apart.SHOWN, help="rows of a mart that are shown")
    parser.add_argument("--apply", action="store_true", help=SUPPRESS)
    parser.add_argument("--because", metavar="TEXT", default="", help=SUPPRESS)
    options = parser.parse_intermixed_args()
    dbt.prepare()
    asked = Circumstances(
        without_batch=tuple(options.without_batch),
        ignore_merge=tuple(options.unmerge),
        merge=tuple(options.merge),
        seed=read_seeds(options.seed),
        select=tuple(options.marts),
    )
    if not str(asked).replace(str(Circumstances(select=asked.select)), "").strip():
        raise GranaryError("say what if: --unmerge, --merge, --without-batch or --seed; see bin/what-if --help")
    if options.apply:
        return apply(options.unmerge, options.because, others=bool(asked.without_batch or asked.merge or asked.seed))
    marts = diff.choose(options.marts)
    with contextlib.closing(dbt.connect_dbt()) as connection:
        last = last_build.read(connection)
        if not last or changes_since(last, connection):
            raise GranaryError("the warehouse isn't built from what is delivered and declared now: run make first")
    with contextlib.redirect_stdout(sys.stderr), copies.turn("bin/what-if") as connection:
        copies.create(connection, NAME, asked)
    differing = [each for each in diff.of_copies(diff.WAREHOUSE, NAME, marts, max(options.rows, 0)) if not each.is_none]
    for difference in differing:
        for line in diff.lines_of(difference, "the warehouse", "this"):
            print(printable(line.replace(NAME, "this").replace(f"only in {diff.WAREHOUSE}", "only in the warehouse")))
    if differing:
        print(f"{counted(len(differing), 'mart')} of {len(marts)} would change; nothing has been changed")
    else:
        print(f"no row of {counted(len(marts), 'mart')} would change")
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        copies.drop(cursor, [NAME])
    return 0


def apply(merges: list[str], because: str, others: bool) -> int:
    """Write merges to be ignored into their seed, with the reason; return an exit code."""
    if others or not merges:
        raise GranaryError("--apply is for --unmerge: change a seed's file, or deliver a batch again, for the others")
    if not because.strip():
        raise GranaryError("--apply needs --because TEXT: the reason is kept with the decision")
    for merge in merges:
        _, ids, declaration = merge_of(merge, ROOT)
        path = seed_files(ROOT)[declaration["ignored_in"]]
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = csv.reader(file)
        if any(ids.items() <= dict(zip(header, row, strict=False)).items() for row in rows):
            print(f"{path.relative_to(ROOT)} has {merge} already")
            continue
        csv.writer(line := io.StringIO(), lineterminator="\n").writerow([ids.get(column, because) for column in header])
        text = path.read_text("utf-8")
        with replacing(path) as new:
            new.write(f"{text}{'' if text.endswith(chr(10)) else chr(10)}{line.getvalue()}".encode())
        print(f"{path.relative_to(ROOT)}: {line.getvalue().strip()}")
    print("make builds it")
    return 0


if __name__ == "__main__":
    run_main(main)
