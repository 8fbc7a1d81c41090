"""What is wrong with the spelling that a column's YAML declares. dbt/macros/spelling says what each setting means."""

from __future__ import annotations

import functools
import itertools
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from typing import Any

from granary.declared import is_texts

TOKENS = {  # of formats, each with the fewest and the most digits that it takes; None: letters, or an offset
    "YYYY": (4, 4), "YY": (2, 2), "Mon": None, "MM": (2, 2), "M": (1, 2), "Ddd": None, "DD": (2, 2), "D": (1, 2),
    "HH": (2, 2), "H": (1, 2), "hh": (2, 2), "h": (1, 2), "mm": (2, 2), "ss": (2, 2), "f": (1, 9), "AM": None,
    "Z": None,
}  # fmt: skip
TOKEN = re.compile("|".join([*TOKENS, "."]), re.DOTALL)
WORDS = {"iso": "YYYY-MM-DD", "excel": (2, 7), "epoch_s": (9, 11), "epoch_ms": (12, 14)}  # formats that have no tokens
PARTS = {"year": ("YYYY", "YY"), "month": ("MM", "M", "Mon"), "day": ("DD", "D")}  # of which a format needs one each
DECIMALS = (".", ",", "any")
TAKEN_BY = {  # parse types, by the settings that say how their values are spelled
    "format": ("date", "timestamp"),
    "timezone": ("timestamp",),
    "timezone_from": ("timestamp",),
    "offset_from": ("timestamp",),
    "decimal": ("amount", "price", "number", "integer"),
    "minor_units": ("amount", "price"),
    "scale": ("amount",),
    "currency": ("amount", "price"),
    "currency_from": ("amount", "price"),
    "currency_signs": ("amount", "price"),
}
SETTINGS = ("nulls", *TAKEN_BY)
EXCLUSIVE = (  # pairs of settings that say the same in two ways
    ("decimal", "minor_units"),
    ("currency", "currency_from"),
    *itertools.combinations(("timezone", "timezone_from", "offset_from"), 2),
)
known_time_zones = functools.cache(zoneinfo.available_timezones)  # which looks through hundreds of files each time


def problems(rules: Mapping[str, Any], columns: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the settings of a column, given the names of all columns."""
    parse = rules.get("parse") or "text"
    if questions := [name for name in TAKEN_BY if isinstance(rules.get(name), str) and rules[name].startswith("? ")]:
        yield f"`{questions[0]}: {rules[questions[0]]}` is a question that bin/feed new could not answer: answer it"
        return
    for setting, types in TAKEN_BY.items():
        if setting in rules and parse not in types:
            yield f"`{setting}` goes with `parse: {' or '.join(types)}`, not with {parse}"
    for setting in ("timezone_from", "offset_from", "currency_from"):
        if setting in rules and rules[setting] not in columns:
            yield f"`{setting}` names {rules[setting]}, which isn't a column"
    for setting, is_right, takes in (
        ("nulls", is_texts, "a list of texts, which may be empty"),
        ("timezone", known_time_zones().__contains__, "the name of a time zone, such as Europe/Berlin"),
        ("decimal", DECIMALS.__contains__, "'.', ',' or any"),
        (
            "minor_units",
            lambda value: value == "currency" or (type(value) is int and 1 <= value <= 4),
            "a whole number from 1 to 4, or currency",
        ),
        ("scale", lambda value: type(value) is int and 0 <= value <= 18, "a whole number from 0 to 18"),
        ("currency", lambda value: value is None or is_code(value), "an ISO 4217 code such as EUR, or null"),
        (
            "currency_signs",
            lambda value: isinstance(value, dict) and all(map(is_code, value.values())),
            "signs with codes",
        ),
    ):
        if setting in rules and not (
            isinstance(rules[setting], (str, int, list, dict, type(None))) and is_right(rules[setting])
        ):
            yield f"`{setting}: {rules[setting]}`: it takes {takes}"
    if rules.get("minor_units") == "currency" and not {"currency", "currency_from"} & rules.keys():
        yield "`minor_units: currency` needs `currency` or `currency_from`"
    for one, other in EXCLUSIVE:
        if one in rules and other in rules:
            yield f"`{one}` and `{other}`: remove one of them"
    if "format" in rules:
        yield from problems_of_formats(rules["format"])


def is_code(value: Any) -> bool:
    """Return whether a value may be the code of a currency."""
    return isinstance(value, str) and bool(re.fullmatch("[A-Z]{3}", value))


def problems_of_formats(declared: Any) -> Iterator[str]:
    """Yield what is wrong with a format, or with several of a column: no two of them may read the same text."""
    formats = [declared] if isinstance(declared, str) else declared
    if not is_texts(formats) or not formats:
        yield f"`format: {declared}`: it takes a format such as DD.MM.YYYY, or a list of them"
        return
    for each in formats:
        if each not in WORDS:
            names = TOKEN.findall(each)
            wrong = next((part for part, tokens in PARTS.items() if sum(map(names.count, tokens)) != 1), None)
            if wrong or any(names.count(token) > 1 for token in TOKENS):
                yield f"`format: {each}`: it needs one {wrong or 'of each token'}, such as DD.MM.YYYY H:mm"
                return
            if run := unseparated(names):
                yield f"`format: {each}`: {run} can be read in two ways: write two digits each, such as DDMM"
            if {"hh", "h"} & {*names} and "AM" not in names:
                yield f"`format: {each}`: hh and h are hours from 1 to 12 and need AM; HH and H are from 0 to 23"
    for one, other in itertools.combinations(formats, 2):
        is_iso_twice = "iso" in (one, other) and (one + other).replace("iso", "").startswith("YYYY-")
        if is_iso_twice or are_ambiguous(shape_of(one), shape_of(other)):
            yield f"`format`: {one} and {other} can both read the same text: remove one of them"


def unseparated(names: list[str]) -> str | None:
    """Return tokens of a format that follow each other and can share the same digits in two ways, or None."""
    for _, run in itertools.groupby(names, lambda name: bool(TOKENS.get(name))):
        tokens = [name for name in run if TOKENS.get(name)]
        if sum(TOKENS[name][0] < TOKENS[name][1] for name in tokens) > 1:
            return "".join(tokens)
    return None


def shape_of(each: str) -> list[tuple[str, int, int]]:
    """Return the runs of a format: of digits with their fewest and most, of letters, and all else as it is."""
    if isinstance(WORDS.get(each), tuple):
        return [("digits", *WORDS[each])]
    runs: list[tuple[str, int, int]] = []
    for name in TOKEN.findall(WORDS.get(each, each)):
        fewest, most = TOKENS.get(name) or (0, 0)
        kind = "digits" if most else "letters" if name in TOKENS else name.lower()
        if runs and most and runs[-1][0] == "digits":
            fewest, most = fewest + runs[-1][1], most + runs.pop()[2]
        runs.append((kind, fewest, most))
    return runs


def are_ambiguous(one: list[tuple[str, int, int]], other: list[tuple[str, int, int]]) -> bool:
    """Return whether the same text may have two shapes."""
    if len(one) != len(other):
        return False
    return all(
        kind == other_kind and max(fewest, other_fewest) <= min(most, other_most)
        for (kind, fewest, most), (other_kind, other_fewest, other_most) in zip(one, other, strict=True)
    )
