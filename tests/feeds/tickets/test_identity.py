"""Identity on generated logs of merges, against the rules in plain Python (identity_reference.py), at any depth."""

import os
import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from conftest import DBT, Database
from feeds.tickets.identity_reference import canonical_customers, connected_customers, undone_merges

Merge = tuple[str, str, str]  # from, to, merged_at

CHAIN_LENGTH = 5_000
LOG_COUNT = 2_000 if os.environ.get("GRANARY_SOAK") else 300
MODELS = [
    "stg_tickets__identity_merges",
    "int_tickets__identity_merges",
    "int_identity__latest_merges",
    "int_identity__resolved_customers",
    "int_identity__undone_merges",
    "int_identity__connected_customers",
]

names = st.sampled_from("ABCabc12")  # upper and lower case: collations disagree about their order
merge = st.tuples(names, names, st.sampled_from([f"2026-01-0{day} 12:00:00" for day in range(1, 6)]))
logs = st.lists(merge, min_size=1, max_size=20)


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A warehouse without data, of which the tests fill and resolve the merges."""
    database = new_database()
    empty = tmp_path_factory.mktemp("data")
    for command in (("bin/ingest", "--data-dir", empty), (*DBT, "seed")):
        done = database.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    database.query("truncate staging.identity_overrides")
    return database


def resolve(warehouse: Database, *batches: list[Merge]) -> dict[str, str]:
    """What the models make of the merges, batch by batch, in this order of arrival: the first build is from nothing."""
    warehouse.query("truncate raw.tickets__identity_merges")
    warehouse.query("delete from raw._batches")
    for number, merges in enumerate(batches, start=1):
        warehouse.query(
            "insert into raw._batches (batch_id, feed, entity, path, sha256, bytes, first_row_id, status, started_at)"
            " values (%s, 'tickets', 'identity_merges', %s, '', 0, 0, 'loaded', now())",
            [number, f"batch_{number}"],
        )
        warehouse.query(
            "insert into raw.tickets__identity_merges (from_customer_id, to_customer_id, merged_at, _batch_id)"
            " select split_part(line, E'\\t', 1), split_part(line, E'\\t', 2), split_part(line, E'\\t', 3), %s"
            " from unnest(%s) with ordinality as lines (line, position) order by position",
            [number, ["\t".join(merge) for merge in merges]],
        )
        refresh = ("--full-refresh",) if number == 1 else ()
        done = warehouse.run(*DBT, "run", *refresh, "--select", *MODELS)
        assert done.returncode == 0, done.stdout + done.stderr
    rows = warehouse.query(
        "select customer_id, canonical_customer_id from intermediate.int_identity__resolved_customers"
    )
    assert len(rows) == len(dict(rows)), "a customer is resolved more than once"
    return dict(rows)


def undone(warehouse: Database) -> set[tuple]:
    """The merges that a later merge undid."""
    rows = warehouse.query("select from_customer_id, to_customer_id from intermediate.int_identity__undone_merges")
    assert len(rows) == len(set(rows))
    return set(rows)


def connected(warehouse: Database) -> set[frozenset]:
    """The groups of customers that would be one if merges were edges."""
    rows = warehouse.query("select connected_group_id, customer_id from intermediate.int_identity__connected_customers")
    assert len(rows) == len({customer for _, customer in rows})
    return {frozenset(customer for of, customer in rows if of == group) for group in {group for group, _ in rows}}


def test_generated_logs_resolve_as_the_reference_says(warehouse: Database) -> None:
    merges: list[Merge] = []

    @seed(0)
    @settings(max_examples=LOG_COUNT, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(logs)
    def collect(log: list[Merge]) -> None:
        prefix = f"h{len(merges)}-"
        merges.extend((prefix + left, prefix + right, merged_at) for left, right, merged_at in log)

    collect()
    expected = canonical_customers(merges)
    assert sum(left != right for left, right in expected.items()) > LOG_COUNT
    assert resolve(warehouse, merges) == expected
    assert undone(warehouse) == undone_merges(merges)
    assert connected(warehouse) == connected_customers(merges)
    assert len(connected(warehouse)) > LOG_COUNT / 4


@pytest.mark.parametrize("shape", ["chain", "chain, in no order", "ring", "star", "tree"])
def test_undone_merges_connect_at_any_distance(warehouse: Database, shape: str) -> None:
    steps = range(CHAIN_LENGTH)
    names = [f"c{number:05}" for number in range(CHAIN_LENGTH + 1)]
    if shape == "chain, in no order":
        random.Random(0).shuffle(names)
    follows = {
        "ring": lambda number: (number + 1) % CHAIN_LENGTH,
        "star": lambda _: CHAIN_LENGTH,
        "tree": lambda n: n // 3,
    }
    following = follows.get(shape, lambda number: number + 1)
    joined = [(names[number], names[following(number)], "2026-01-01 12:00:00") for number in steps]
    parted = [(names[number], f"away from {names[number]}", "2026-01-02 12:00:00") for number in steps]
    merges = joined + parted
    assert resolve(warehouse, merges) == canonical_customers(merges)
    assert undone(warehouse) == undone_merges(merges)
    (everyone,) = connected(warehouse)
    assert everyone == next(iter(connected_customers(merges)))
    assert len(everyone) >= CHAIN_LENGTH


@pytest.mark.parametrize("order", ["as decided", "backwards", "shuffled", "shuffled, in three batches"])
def test_long_chains_and_cycles_in_any_order_of_arrival(warehouse: Database, order: str) -> None:
    def at(number: int) -> str:
        return f"2026-01-01 {number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"

    steps = range(CHAIN_LENGTH)
    chain = [(f"chain{number}", f"chain{number + 1}", at(number)) for number in steps]
    ring = [
        (f"ring{number}", f"ring{(number + 1) % CHAIN_LENGTH}", at(number * 7919 % CHAIN_LENGTH)) for number in steps
    ]
    tail = [(f"tail{number}", f"tail{number + 1}", at(number)) for number in steps] + [
        (f"tail{CHAIN_LENGTH}", "ring7", at(0))
    ]
    star = [(f"leaf{number}", "hub", at(number)) for number in steps]
    merges = chain + ring + tail + star
    if order == "backwards":
        merges.reverse()
    elif order != "as decided":
        random.Random(0).shuffle(merges)
    size = len(merges) // 3 + 1 if order == "shuffled, in three batches" else len(merges)
    resolved = resolve(warehouse, *(merges[start : start + size] for start in range(0, len(merges), size)))
    assert resolved == canonical_customers(merges)
    assert resolved["chain0"] == f"chain{CHAIN_LENGTH}"
    latest = max(ring, key=lambda merge: merge[2])
    assert resolved["tail0"] == resolved["ring0"] == latest[1]
