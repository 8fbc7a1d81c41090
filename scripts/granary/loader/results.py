"""What became of the files, as data and in words."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

from granary.loader.raw_tables import Batch
from granary.text import counted


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a file. The batch of a known file is the one that has its bytes already."""

    outcome: str  # loaded, known, or to load (in a dry run)
    batch: Batch
    replaced: Batch | None = None
    new_columns: tuple[str, ...] = ()
    blank_lines: int = 0
    signature: str | None = None  # of a known file that was read
    fail_above: float = 1.0  # share of rejected rows above which a build fails

    def __str__(self) -> str:
        """Return the details in words."""
        if self.outcome == "known":
            return f"batch {self.batch.batch_id} has these bytes already"
        words = [f"replaces batch {self.replaced.batch_id}"] if self.replaced else []
        words += [f"new column {name}" for name in self.new_columns]
        words += [f"extra column {name}" for name in (self.batch.extra_columns or "").split(", ") if name]
        if self.outcome == "to load":
            return ", ".join(words)
        if self.blank_lines:
            words.insert(0, counted(self.blank_lines, "blank line"))
        if self.batch.rows_rejected:
            words.insert(0, f"{counted(self.batch.rows_rejected, 'line')} rejected{self.verdict()}")
        return f"batch {self.batch.batch_id:<5} {', '.join([counted(self.batch.rows_loaded, 'row'), *words])}"

    def verdict(self) -> str:
        """Return in words that a build will refuse the batch, if so many lines are rejected that this is certain."""
        if self.batch.rows_loaded and self.batch.rows_rejected <= self.fail_above * self.batch.rows_read:
            return ""
        share = self.batch.rows_rejected / self.batch.rows_read
        return f" ({share:.1%}; above {self.fail_above:.0%}, the build fails)"


def summary(results: Iterable[Result | None], dry_run: bool) -> tuple[str, bool]:
    """Return the totals in words, and whether all went well. A result of None stands for a file that failed."""
    outcomes: collections.Counter[str] = collections.Counter()
    total = loaded = rejected = 0
    for result in results:  # which aren't kept: there may be many
        total += 1
        outcomes[result.outcome if result else "failed"] += 1
        if result and result.outcome == "loaded":
            loaded += result.batch.rows_loaded
            rejected += result.batch.rows_rejected
    done = "to load" if dry_run else "loaded"
    rows = f"{counted(loaded, 'row')}, {counted(rejected, 'line')} rejected"
    files = f"{counted(total, 'file')}: {outcomes[done]} {done} ({rows})"
    return f"{files}, {outcomes['known']} known, {outcomes['failed']} failed", not outcomes["failed"]
