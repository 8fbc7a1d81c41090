"""Divisions and averages are exact, and halves are rounded away from zero, whatever the engine does by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import Database

pytestmark = pytest.mark.fast

DECIMALS = (0, 2, 4, 6)
MONEY = st.decimals(-(10**14), 10**14, places=4)
DIVISORS = st.decimals(-(10**5), 10**5, places=4)  # so that no quotient is nearer to a half than engines can tell
VALUES = st.none() | st.decimals(-(10**12), 10**12, places=2)


def query(database: Database, engine: str) -> str:
    """Return SQL over the table `pairs`, with each quotient, and the average of all numerators, at each precision."""
    ratios = ", ".join(f"{{{{ ratio('n', 'd', {places}) }}}} as ratio_{places}" for places in DECIMALS)
    averages = ", ".join(f"{{{{ average('n', {places}, '()') }}}} as average_{places}" for places in DECIMALS)
    inline = ("--inline", f"select {ratios}, {averages} from pairs order by place")
    compiled = database.run("bin/dbt", "--quiet", "compile", "--target", engine, *inline)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    return compiled.stdout


@pytest.fixture(scope="module", params=["postgres", "duckdb"])
def computed(new_database: Callable[[], Database], request: pytest.FixtureRequest) -> Iterator[Callable]:
    """Give a function that returns the rows of the query for pairs of numbers."""
    database, table = new_database(), "create temporary table pairs (place bigint, n numeric(38, 4), d numeric(38, 4))"
    sql = query(database, request.param)
    opened = database.connect() if request.param == "postgres" else duckdb.connect()
    with contextlib.closing(opened) as connection:
        cursor = connection.cursor() if request.param == "postgres" else connection
        cursor.execute(table)

        def rows(pairs: list[tuple]) -> list[tuple[Any, ...]]:
            cursor.execute("truncate pairs")
            values = ", ".join(
                f"({place}, {'null' if n is None else f'{n:f}'}, {d:f})" for place, (n, d) in enumerate(pairs)
            )
            cursor.execute(f"insert into pairs values {values}")
            cursor.execute(sql)
            return cursor.fetchall()

        yield rows


def exactly(numerator: Fraction, denominator: Fraction, places: int) -> Decimal | None:
    """Return the quotient, rounded in whole numbers."""
    if denominator == 0:
        return None
    scaled = numerator / denominator * 10**places
    whole, rest = divmod(abs(scaled), 1)
    return Decimal((int(whole) + (rest >= Fraction(1, 2))) * (1 if scaled >= 0 else -1)).scaleb(-places)


@settings(deadline=None, max_examples=100)
@example([(Decimal("5.025"), Decimal(1)), (Decimal("-5.025"), Decimal(1)), (Decimal(1), Decimal(0))])
@example([(Decimal(2), Decimal(3)), (Decimal("0.1"), Decimal(3)), (Decimal("0.15"), Decimal(10))])
@given(st.lists(st.tuples(MONEY | VALUES, DIVISORS), min_size=1, max_size=20))
def test_quotients_and_averages_are_exact(computed: Callable, pairs: list[tuple]) -> None:
    given_values = [Fraction(n) for n, _ in pairs if n is not None]
    averages = [exactly(sum(given_values, Fraction(0)), Fraction(len(given_values)), places) for places in DECIMALS]
    for (n, d), found in zip(pairs, computed(pairs), strict=True):
        quotients = [None if n is None else exactly(Fraction(n), Fraction(d), places) for places in DECIMALS]
        assert list(found) == [*quotients, *averages]


def test_an_average_of_the_largest_values_fits(new_database: Callable[[], Database]) -> None:
    """Values of 38 digits: their sum has one more. (DuckDB has no longer numbers, and reports an error.)"""
    database, largest = new_database(), "99999999999999999999.999999999999999999"
    rows = f"(values (cast('{largest}' as numeric(38, 18))), ({largest})) as rows (n)"
    inline = ("--inline", f"select {{{{ average('n', 18) }}}} from {rows}")
    compiled = database.run("bin/dbt", "--quiet", "compile", *inline)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    assert database.query(compiled.stdout) == [(Decimal(largest),)]


def test_halves_of_the_expectation_are_rounded_away_from_zero() -> None:
    for text in ("0.005", "-0.005", "2.675", "-1.125"):
        expected = Decimal(text).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert exactly(Fraction(text), Fraction(1), 2) == expected
