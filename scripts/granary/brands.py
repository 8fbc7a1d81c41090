"""The brands for which a source stands: all folders, and all schemas, whose names match a pattern in its meta."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from granary.project import GranaryError
from granary.text import LONGEST_NAME, snake_case

WILDCARDS = {"feeds": "*", "schemas": "%"}  # of a pattern, by the setting that has it
COLUMN, EXTRA = "_brand", "_extra"  # columns of staging: the brand, and what it delivers beyond the declared columns


class Pattern(NamedTuple):
    """A name in which one part stands for the brand, such as wl_*."""

    before: str
    wildcard: str
    after: str

    def __str__(self) -> str:
        """Return the pattern as it is declared."""
        return "".join(self)

    def name(self, brand: str) -> str:
        """Return the name of a brand's folder or schema."""
        return f"{self.before}{brand}{self.after}"

    def brand_in(self, name: str) -> str | None:
        """Return what a name has in the place of the brand; None if it isn't meant for the pattern.

        WL-Acme is meant for wl_*, although it has to be spelled wl_acme.
        """
        pattern = f"{re.escape(self.before)}(.+){re.escape(self.after)}"
        matches = (re.fullmatch(pattern, each, re.IGNORECASE) for each in (name, snake_case(name)))
        return next((match[1] for match in matches if match), None)

    def problem(self, name: str) -> str | None:
        """Return why a name that is meant for the pattern can't be one of it, or None.

        So each name has a brand of its own, and none needs to be told from another by more than its letters.
        """
        brand = self.brand_in(name)
        meant = snake_case(brand)
        if meant == brand and brand.isascii() and len(brand) <= LONGEST_NAME and self.name(brand) == name:
            return None
        way_out = f" to {self.name(meant)}" if meant and meant.isascii() and len(meant) <= LONGEST_NAME else " it"
        return (
            f"a brand has a name of at most {LONGEST_NAME} lower-case letters (a to z) and digits, joined by single"
            f" underscores: rename{way_out}"
        )

    def overlaps(self, other: Pattern) -> bool:
        """Return whether a name can match both patterns."""
        return all(
            one.startswith(two) or two.startswith(one)
            for one, two in ((self.before, other.before), (self.after[::-1], other.after[::-1]))
        )


class Brands(NamedTuple):
    """The patterns of the folders and, if schemas are read as well, of the schemas for which a source stands."""

    folders: Pattern
    schemas: Pattern | None = None

    def overlap(self, other: Brands) -> str | None:
        """Return the setting by which a folder or a schema could be that of two sources, or None."""
        if self.folders.overlaps(other.folders):
            return "feeds"
        return "schemas" if self.schemas and other.schemas and self.schemas.overlaps(other.schemas) else None


def brands_of(meta: Mapping[str, Any]) -> Brands | None:
    """Return the brands for which a source stands by its meta; None if it stands for itself.

    Raises GranaryError, without the name of the file, if a pattern can't be used.
    """
    patterns = {setting: pattern(setting, meta[setting]) for setting in WILDCARDS if meta.get(setting) is not None}
    if "schemas" in patterns and "feeds" not in patterns:
        raise GranaryError("`schemas` needs `feeds`: the folders to which the tables of schemas are copied")
    return Brands(patterns["feeds"], patterns.get("schemas")) if patterns else None


def pattern(setting: str, text: Any) -> Pattern:
    """Return the pattern of a setting of WILDCARDS; raise GranaryError if it can't be used."""
    wildcard = WILDCARDS[setting]
    parts = text.split(wildcard) if isinstance(text, str) else []
    if len(parts) != 2 or not re.fullmatch("[a-z0-9_]+", "".join(parts)) or not "".join(parts).strip("_"):
        raise GranaryError(
            f"`{setting}: {text}`: it takes lower-case letters, digits, underscores and one {wildcard}, such as"
            f" wl_{wildcard}"
        )
    return Pattern(parts[0], wildcard, parts[1])
