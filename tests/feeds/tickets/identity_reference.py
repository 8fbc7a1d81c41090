"""Who is who after a log of merges: the rules of docs/architecture.md in plain Python, one customer at a time."""

from collections.abc import Iterable


def canonical_customers(
    merges: Iterable[tuple[str, str, object]], ignored: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """The canonical id of each customer that a merge (from, to, merged_at) names.

    The latest merge of a customer wins (merged_at, then the highest target); self-merges and ignored merges change
    nothing; in a cycle the customer survives that its latest merge points to.
    """
    merges = list(merges)
    overridden = set(ignored)
    latest: dict[str, tuple[object, str]] = {}
    for left, right, merged_at in merges:
        if left != right and (left, right) not in overridden:
            latest[left] = max(latest.get(left, (merged_at, right)), (merged_at, right))
    known: dict[str, str] = {}
    for customer in {customer for left, right, _ in merges for customer in (left, right)}:
        path, seen = [customer], {customer}
        while path[-1] not in known and path[-1] in latest:
            following = latest[path[-1]][1]
            if following in seen:
                cycle = path[path.index(following) :]
                known |= dict.fromkeys(cycle, max(latest[one] for one in cycle)[1])
                break
            path.append(following)
            seen.add(following)
        canonical = known.get(path[-1], path[-1])
        known |= {one: canonical for one in path if one not in known}
    return known


def undone_merges(
    merges: Iterable[tuple[str, str, object]], ignored: Iterable[tuple[str, str]] = ()
) -> set[tuple[str, str]]:
    """The merges (from, to) whose two customers are apart: a later merge of the same customer undid them."""
    merges = list(merges)
    canonical = canonical_customers(merges, ignored)
    pairs = {(left, right) for left, right, _ in merges} - set(ignored)
    return {(left, right) for left, right in pairs if canonical[left] != canonical[right]}


def connected_customers(merges: Iterable[tuple[str, str, object]], ignored: Iterable[tuple[str, str]] = ()) -> set:
    """The groups of customers that would be one if merges were edges, each as a set of canonical ids."""
    merges = list(merges)
    canonical = canonical_customers(merges, ignored)
    leader = {customer: customer for customer in canonical}

    def find(customer: str) -> str:
        while leader[customer] != customer:
            leader[customer] = customer = leader[leader[customer]]
        return customer

    for left, right in {(left, right) for left, right, _ in merges} - set(ignored):
        leader[find(left)] = find(right)
    groups: dict[str, set[str]] = {}
    for customer, survivor in canonical.items():
        groups.setdefault(find(customer), set()).add(survivor)
    return {frozenset(group) for group in groups.values() if len(group) > 1}
