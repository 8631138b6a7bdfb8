"""Assignment: which variant a user gets is computed from the user's id, so that every server and client agrees.

    bucket(salt, user) = the first 8 bytes of SHA-256("<salt>.<user id>", UTF-8), big-endian, modulo 10,000

    traffic salt ──► bucket in the traffic? ──no──► not in the experiment
                          │ yes
    own salt ────────► bucket ──► the variant that holds it

Salts hold no dot, so no two pairs of salt and user make the same text. An experiment's own salt is its id. Its traffic
salt is `layer-<layer>`, which all experiments of a layer share, so that disjoint buckets are disjoint users; or, in no
layer, `<id>-traffic`. What is computed with different salts is independent.

An allocation says which buckets are traffic and which variant holds which. When shares change the next one moves as few
buckets as can be: who shrinks gives up its last buckets, and nothing else moves.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.errors import LayerFull

HASH_VERSION = 1
"""Of the formula above; stored with what it decided, for another formula would be another version."""

N_BUCKETS = 10_000

Ranges = tuple[tuple[int, int], ...]
"""Buckets as half-open ranges [first, end), in order and apart from each other."""


def bucket(salt: str, user_id: str) -> int:
    """The user's bucket, 0 to 9,999, by a salt.

    >>> bucket("exp_1", "alice")
    3096
    """
    digest = hashlib.sha256(f"{salt}.{user_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % N_BUCKETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Who gets what from an instant on. `variants` share out all buckets; `weights` are what they were shared by."""

    revision: int
    at: datetime
    traffic: Ranges
    variants: dict[str, Ranges]
    weights: dict[str, float]
    hash_version: int = HASH_VERSION

    def __post_init__(self) -> None:
        held = sorted(each for ranges in self.variants.values() for each in ranges)
        ends = [0, *(end for _, end in held)]
        if [first for first, _ in held] != ends[:-1] or ends[-1] != N_BUCKETS:
            msg = "The variants of an allocation share out all buckets, each once."
            raise ValueError(msg)

    @property
    def share(self) -> float:
        """The share of all users that are traffic."""
        return n_buckets(self.traffic) / N_BUCKETS

    def is_traffic(self, number: int) -> bool:
        """Whether a bucket by the traffic salt is in the experiment."""
        return holds(self.traffic, number)

    def variant(self, number: int) -> str:
        """The variant that holds a bucket by the experiment's own salt."""
        return next(name for name, ranges in self.variants.items() if holds(ranges, number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What was computed for a user; `variant` is None for who is not in the experiment."""

    traffic_bucket: int
    bucket: int
    variant: str | None


def assigned(allocation: Allocation, user_id: str, *, traffic_salt: str, salt: str) -> Assignment:
    """The user's variant by an allocation."""
    traffic_bucket, own = bucket(traffic_salt, user_id), bucket(salt, user_id)
    variant = allocation.variant(own) if allocation.is_traffic(traffic_bucket) else None
    return Assignment(traffic_bucket=traffic_bucket, bucket=own, variant=variant)


def allocated(
    before: Sequence[Allocation], *, at: datetime, share: float, weights: Mapping[str, float], taken: Collection[int]
) -> Allocation:
    """The allocation that follows those of before, of which the last one holds.

    `taken` are buckets of the layer's other experiments. Buckets that this experiment once had come back first: some
    of their users have seen it. Raises: LayerFull.
    """
    present = before[-1] if before else None
    once = list(dict.fromkeys(number for each in reversed(before) for number in buckets_of(each.traffic)))
    n_wanted = max(1, round(share * N_BUCKETS))
    order = [number for number in dict.fromkeys([*once, *range(N_BUCKETS)]) if number not in taken]
    if len(order) < n_wanted:
        raise LayerFull(wanted=n_wanted / N_BUCKETS, free=len(order) / N_BUCKETS)
    held = {} if present is None else {name: buckets_of(ranges) for name, ranges in present.variants.items()}
    return Allocation(
        revision=len(before),
        at=at,
        traffic=ranges_of(order[:n_wanted]),
        variants={name: ranges_of(numbers) for name, numbers in shared_out(held, apportioned(weights)).items()},
        weights=dict(weights),
    )


def apportioned(weights: Mapping[str, float]) -> dict[str, int]:
    """How many of all buckets each gets, by largest remainder, but at least one; ties go to the first.

    Within a bucket of its weight, unless a weight is worth less than a bucket: what lifts it the others give.

    >>> apportioned({"a": 1, "b": 1, "c": 1})
    {'a': 3334, 'b': 3333, 'c': 3333}
    """
    total = sum(weights.values())
    quotas = {name: weight / total * N_BUCKETS for name, weight in weights.items()}
    counts = {name: max(1, int(quota)) for name, quota in quotas.items()}
    while n_left := N_BUCKETS - sum(counts.values()):
        wanting = {name: quota - counts[name] for name, quota in quotas.items()}
        if n_left > 0:
            counts[max(wanting, key=wanting.__getitem__)] += 1
        else:
            counts[min((name for name in counts if counts[name] > 1), key=wanting.__getitem__)] -= 1
    return counts


def shared_out(held: Mapping[str, Sequence[int]], wanted: Mapping[str, int]) -> dict[str, list[int]]:
    """All buckets by name, as many as wanted each; none moves that need not. The first time they follow in order."""
    kept = {name: list(held.get(name, ()))[:n] for name, n in wanted.items()}
    fixed = {number for numbers in kept.values() for number in numbers}
    free = iter([number for number in range(N_BUCKETS) if number not in fixed])
    return {
        name: sorted([*numbers, *(next(free) for _ in range(wanted[name] - len(numbers)))])
        for name, numbers in kept.items()
    }


def holds(ranges: Ranges, number: int) -> bool:
    """Whether a bucket is among them."""
    return any(first <= number < end for first, end in ranges)


def n_buckets(ranges: Ranges) -> int:
    """How many they are."""
    return sum(end - first for first, end in ranges)


def buckets_of(ranges: Ranges) -> list[int]:
    """Each bucket, in order."""
    return [number for first, end in ranges for number in range(first, end)]


def ranges_of(numbers: Iterable[int]) -> Ranges:
    """Buckets as ranges.

    >>> ranges_of([5, 1, 2])
    ((1, 3), (5, 6))
    """
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return tuple(ranges)
