"""Health: whether an experiment can be read at all. One failed check withholds every effect.

    sample_ratio        users by variant against what the allocations gave them: chi-square on sum over revisions r of
                        n_r w_r, overall and by segment (p values by Holm over these). Fails below 0.001
    multiple_exposures  users who were seen with a second variant and are left out. Warns above 1 %, fails above 5 % or
                        where it differs between variants (chi-square, p < 0.001): then whoever is left was selected
    before_exposure     the metrics before the exposure, which no variant can have moved (p values by Holm over metrics
                        and variants). Warns below 0.05, fails below 0.001
    missing_outcomes    users of whom there is no play after the exposure, by variant. A difference (chi-square, p <
                        0.001) warns, for a variant may keep listeners or lose them; it fails where a variant has no
                        play at all while another has, or the shares are more than 10 points apart: reports were lost
    users               fails below 100 users in a variant

Source: Fabijan et al. 2019 (sample-ratio mismatch); Kohavi, Tang and Xu 2020, chapters 3 and 21.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import scipy

from app.domain.experiments.effects import holm

FAILS_BELOW = 0.001
WARNS_BELOW = 0.05
FEWEST_USERS = 100
CROSSED_WARNS = 0.01
CROSSED_FAILS = 0.05
LOST_FAILS = 0.10

CheckName = Literal["sample_ratio", "multiple_exposures", "before_exposure", "missing_outcomes", "users"]
CheckState = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class RevisionCount:
    """Users whom a revision of the allocation gave a variant, in one segment, and those of them who crossed."""

    revision: int
    variant: str
    segment: str | None
    n: int
    n_crossed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one check found: a sentence, the p value it rests on, and its figures by name."""

    name: CheckName
    state: CheckState
    detail: str
    p_value: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """All checks."""

    checks: tuple[Check, ...]

    @property
    def state(self) -> CheckState:
        """The worst."""
        states = {check.state for check in self.checks}
        return "failed" if "failed" in states else "warning" if "warning" in states else "ok"

    @property
    def reason(self) -> str | None:
        """Why there are no effects; None where there may be."""
        failed = [check.detail for check in self.checks if check.state == "failed"]
        return " ".join(failed) if failed else None


Weights = Callable[[int], Mapping[str, float]]
"""The shares of the variants in a revision, summing to 1."""


def sample_ratio(counts: Sequence[RevisionCount], *, variants: Sequence[str], weights: Weights) -> Check:
    """See the module header."""
    by_segment: dict[str | None, list[RevisionCount]] = {}
    for count in counts:
        by_segment.setdefault(count.segment, []).append(count)
    groups: dict[str, Sequence[RevisionCount]] = {"all": counts}
    if len(by_segment) > 1:
        groups |= {f"segment {segment!r}" if segment else "no segment": each for segment, each in by_segment.items()}
    found = {name: _mismatch(each, variants, weights) for name, each in groups.items()}
    p_values = dict(zip(found, holm(list(found.values())), strict=True))
    worst = min(p_values, key=p_values.__getitem__)
    seen = {variant: float(sum(count.n for count in counts if count.variant == variant)) for variant in variants}
    p_value = p_values[worst]
    told = ", ".join(f"{name} {int(n)}" for name, n in seen.items())
    if p_value >= FAILS_BELOW:
        return Check(
            name="sample_ratio",
            state="ok",
            detail=f"Users are shared out as they were assigned ({told}).",
            p_value=p_value,
            figures=seen,
        )
    return Check(
        name="sample_ratio",
        state="failed",
        detail=f"Users are not shared out as they were assigned ({worst}: p = {p_value:.2g}; {told}): some were lost or"
        " added by variant, so variants cannot be compared.",
        p_value=p_value,
        figures=seen,
    )


def _mismatch(counts: Sequence[RevisionCount], variants: Sequence[str], weights: Weights) -> float:
    """The p value of chi-square against the expected counts."""
    expected = dict.fromkeys(variants, 0.0)
    observed = dict.fromkeys(variants, 0)
    for count in counts:
        observed[count.variant] += count.n
        for variant, share in weights(count.revision).items():
            expected[variant] += count.n * share
    present = [variant for variant in variants if expected[variant] > 0]
    if len(present) < 2:
        return 1.0
    return float(
        scipy.special.chdtrc(len(present) - 1, sum((observed[v] - expected[v]) ** 2 / expected[v] for v in present))
    )


def multiple_exposures(counts: Sequence[RevisionCount], *, variants: Sequence[str]) -> Check:
    """See the module header."""
    users = {variant: (0, 0) for variant in variants}
    for count in counts:
        n, n_crossed = users[count.variant]
        users[count.variant] = (n + count.n, n_crossed + count.n_crossed)
    n, n_crossed = (sum(each) for each in zip(*users.values(), strict=True))
    share = n_crossed / n if n else 0.0
    p_value = differing_shares({variant: (each[1], each[0]) for variant, each in users.items()})
    state: CheckState = "ok"
    if share > CROSSED_WARNS:
        state = "warning"
    if share > CROSSED_FAILS or (p_value is not None and p_value < FAILS_BELOW):
        state = "failed"
    detail = f"{n_crossed} of {n} users ({share:.2%}) were seen with two variants and are left out"
    endings = {
        "ok": ".",
        "warning": ": look for who sends them.",
        "failed": ", too many or not alike in all variants: whoever is left was selected.",
    }
    return Check(
        name="multiple_exposures",
        state=state,
        detail=detail + endings[state],
        p_value=p_value,
        figures={variant: each[1] / each[0] if each[0] else 0.0 for variant, each in users.items()},
    )


def before_exposure(p_values: Mapping[tuple[str, str], float]) -> Check:
    """Of p values by metric and variant; see the module header."""
    if not p_values:
        return Check(
            name="before_exposure",
            state="ok",
            detail="No metric varies before the exposure: there is nothing to compare.",
        )
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    metric, variant = worst = min(adjusted, key=adjusted.__getitem__)
    p_value = adjusted[worst]
    figures = {f"{name} in {other}": p for (name, other), p in adjusted.items()}
    if p_value >= WARNS_BELOW:
        detail, state = "Variants were alike before the exposure.", "ok"
    else:
        detail = f"{metric} differed in {variant} before the exposure already (p = {p_value:.2g}, adjusted)"
        state = "failed" if p_value < FAILS_BELOW else "warning"
        detail += ": users were not assigned by chance." if state == "failed" else "."
    return Check(name="before_exposure", state=_state(state), detail=detail, p_value=p_value, figures=figures)


def missing_outcomes(users: Mapping[str, tuple[int, int]]) -> Check:
    """Of users and those with any play, by variant; see the module header."""
    shares = {variant: (n - n_active) / n for variant, (n, n_active) in users.items() if n}
    p_value = differing_shares({variant: (n_active, n) for variant, (n, n_active) in users.items()})
    told = ", ".join(f"{variant} {share:.1%}" for variant, share in shares.items())
    apart = max(shares.values(), default=0.0) - min(shares.values(), default=0.0)
    is_different = p_value is not None and p_value < FAILS_BELOW
    has_nothing = any(share == 1.0 for share in shares.values())
    if shares and has_nothing:
        state, detail = "failed", f"There is no play after the exposure in a variant ({told} without)."
    elif is_different and apart > LOST_FAILS:
        state, detail = "failed", f"Users without any play differ by {apart:.0%} ({told}): reports of plays were lost."
    elif is_different:
        state, detail = "warning", f"Users without any play differ between variants ({told})."
    else:
        state, detail = "ok", f"Users without any play are as many in all variants ({told or 'none yet'})."
    return Check(name="missing_outcomes", state=_state(state), detail=detail, p_value=p_value, figures=shares)


def enough_users(users: Mapping[str, int]) -> Check:
    """See the module header."""
    few = {variant: n for variant, n in users.items() if n < FEWEST_USERS}
    figures = {variant: float(n) for variant, n in users.items()}
    if not few:
        return Check(name="users", state="ok", detail="Every variant has enough users.", figures=figures)
    told = ", ".join(f"{variant} has {n}" for variant, n in few.items())
    return Check(
        name="users",
        state="failed",
        detail=f"Too few users: {told}, and at least {FEWEST_USERS} are needed.",
        figures=figures,
    )


def differing_shares(shares: Mapping[str, tuple[int, int]]) -> float | None:
    """The p value of chi-square on (how many, of how many); None where nothing can differ.

    >>> round(differing_shares({"a": (10, 100), "b": (30, 100)}), 5)
    0.00041
    """
    present = {name: each for name, each in shares.items() if each[1] > 0}
    n, total = (sum(each[place] for each in present.values()) for place in (0, 1))
    if len(present) < 2 or n in {0, total}:
        return None
    share = n / total
    statistic = sum((each - of * share) ** 2 / (of * share * (1.0 - share)) for each, of in present.values())
    return float(scipy.special.chdtrc(len(present) - 1, statistic))


def _state(state: str) -> CheckState:
    return "failed" if state == "failed" else "warning" if state == "warning" else "ok"
