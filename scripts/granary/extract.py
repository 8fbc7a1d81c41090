"""Fetch a feed from its API and write what came as batches, which bin/ingest loads.

usage: bin/extract [FEED] [options]

  bin/extract FEED --help    lists the options of a feed's extractor, scripts/granary/feeds/FEED/extract.py

FEED can be omitted while only one feed has an extractor.
"""

from __future__ import annotations

import importlib
import sys

from granary.project import ROOT, GranaryError, run_main


def extractors() -> list[str]:
    """Return the names of the feeds that can be fetched."""
    return sorted(path.parent.name for path in (ROOT / "scripts" / "granary" / "feeds").glob("*/extract.py"))


def main() -> int | None:
    """Run the extractor that the command line names, or the only one."""
    feeds, arguments = extractors(), sys.argv[1:]
    if arguments[:1] in (["--help"], ["-h"]):
        print(f"{__doc__.strip()}\n\nFeeds that can be fetched: {', '.join(feeds) or 'none'}")
        return 0
    if not feeds:
        raise GranaryError("no feed can be fetched: none has a scripts/granary/feeds/<feed>/extract.py")
    if arguments and not arguments[0].startswith("-"):
        feed = arguments.pop(0)
    elif len(feeds) == 1:
        feed = feeds[0]
    else:
        raise GranaryError(f"which feed? Choose one:  bin/extract {' | '.join(feeds)}")
    if feed not in feeds:
        raise GranaryError(f"{feed} can't be fetched: it has no extractor; feeds that have one: {', '.join(feeds)}")
    sys.argv[1:] = arguments
    return importlib.import_module(f"granary.feeds.{feed}.extract").main()


if __name__ == "__main__":
    run_main(main)
