"""Gating: how it is decided whether a model shows what it must before an alias moves to it.

Notation: c is the candidate, l the model that is live where it would go; d_s = mean of c_p - l_p over the pairs of
segment s (`pairing`), on the test pairs that both were measured on.

    paired       no worse: fails when d < -margin and its 95 % interval lies below 0. Better: fails unless the interval
                 lies above margin
    segments     fails when any d_s < -margin and its interval lies below 0, at level 1 - 0.05 / S (Bonferroni)
    coverage     fails when coverage_c < share * coverage_l
    popularity   fails when |popularity_c - popularity_l| > shift
    recall       fails when the least of c's recalls against exact search is below the limit
    latency      fails when the 99th percentile of c's searches, measured when it was built, is above the limit

What cannot be computed is `not_applicable` with its reason: it neither passes nor fails, and refuses only where it is
`required` and something is live.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from app.domain.gates import Gate, GateLimits, GateName, GateReport, GateState
from app.domain.measurement import Measurement
from app.domain.models import IndexFacts, Latency
from app.domain.pairing import PairedDifference, PairRanks, paired_difference

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a candidate and of the model that is live; a `no_` field says why it is not known.

    The measurements are on the test pairs, the ranks on the same pairs.
    """

    model_id: str
    live_model_id: str | None
    segment: str | None = None
    hr_weight: float = 0.5
    ranks: PairRanks | None = None
    live_ranks: PairRanks | None = None
    no_pairs: str | None = None
    measurement: Measurement | None = None
    live_measurement: Measurement | None = None
    no_lists: str | None = None
    index: IndexFacts | None = None
    latency: Latency | None = None


def judged(evidence: Evidence, limits: GateLimits) -> GateReport:
    """Every gate, in the order of the module header.

    >>> [gate.state.value for gate in judged(Evidence(model_id="m", live_model_id=None), GateLimits()).gates]
    ['not_applicable', 'not_applicable', 'not_applicable', 'not_applicable', 'not_applicable', 'not_applicable']
    """
    gates = (
        _unless_off(GateName.PAIRED, limits.paired_margin, lambda limit: _paired(evidence, limit, limits.paired_rule)),
        _unless_off(GateName.SEGMENTS, limits.segment_margin, lambda limit: _segments(evidence, limit)),
        _unless_off(GateName.COVERAGE, limits.coverage_share, lambda limit: _coverage(evidence, limit)),
        _unless_off(GateName.POPULARITY, limits.popularity_shift, lambda limit: _popularity(evidence, limit)),
        _unless_off(GateName.RECALL, limits.recall, lambda limit: _recall(evidence, limit)),
        _unless_off(GateName.LATENCY, limits.latency_p99_ms, lambda limit: _latency(evidence, limit)),
    )
    return GateReport(
        model_id=evidence.model_id,
        live_model_id=evidence.live_model_id,
        segment=evidence.segment,
        is_passed=not any(_refuses(gate, limits, evidence) for gate in gates),
        gates=gates,
    )


def _refuses(gate: Gate, limits: GateLimits, evidence: Evidence) -> bool:
    if gate.state is GateState.NOT_APPLICABLE:
        return gate.name in limits.required and evidence.live_model_id is not None
    return gate.state is GateState.FAILED


def _unless_off(name: GateName, limit: float | None, gate: Callable[[float], Gate]) -> Gate:
    return Gate(name=name, state=GateState.OFF) if limit is None else gate(limit)


def _beside_live(name: GateName, evidence: Evidence, why_not: str | None) -> Gate | None:
    """Why the candidate cannot be held beside what is live; None when it can."""
    if evidence.live_model_id is None:
        return _not_applicable(name, "Nothing is live there yet.")
    if evidence.live_model_id == evidence.model_id:
        return _not_applicable(name, "It is the model that is live.")
    return None if why_not is None else _not_applicable(name, why_not)


def _not_applicable(name: GateName, reason: str) -> Gate:
    return Gate(name=name, state=GateState.NOT_APPLICABLE, reason=reason)


def _decided(name: GateName, reason: str, *, is_passed: bool, **figures: float) -> Gate:
    state = GateState.PASSED if is_passed else GateState.FAILED
    return Gate(name=name, state=state, reason=None if is_passed else reason, figures=figures)


def _paired(evidence: Evidence, margin: float, rule: Literal["not_worse", "better"]) -> Gate:
    name = GateName.PAIRED
    missing = _beside_live(name, evidence, evidence.no_pairs)
    if missing is not None:
        return missing
    difference = _difference(evidence.ranks, evidence.live_ranks, hr_weight=evidence.hr_weight, level=LEVEL)
    if difference is None:
        return _not_applicable(name, "No pair was measured.")
    if rule == "better":
        reason = f"The model is not shown to be better than what is live by more than {margin:g}."
        is_passed = difference.low > margin
    else:
        reason = f"The model is worse than what is live by {-difference.value:.4f}, more than {margin:g}."
        is_passed = not _is_worse(difference, margin)
    return _decided(name, reason, is_passed=is_passed, **_told(difference), margin=margin)


def _segments(evidence: Evidence, margin: float) -> Gate:
    name = GateName.SEGMENTS
    missing = _beside_live(name, evidence, evidence.no_pairs)
    if missing is not None:
        return missing
    ranks, live = evidence.ranks, evidence.live_ranks
    names = () if ranks is None else tuple(name for name in ranks.segments if len(ranks.of_segment(name)))
    if ranks is None or live is None or not names:
        return _not_applicable(name, "The pairs are of no segments.")
    level = 1.0 - (1.0 - LEVEL) / len(names)
    differences = {
        segment: paired_difference(
            ranks.of_segment(segment), live.of_segment(segment), hr_weight=evidence.hr_weight, level=level
        )
        for segment in names
    }
    found = {segment: difference for segment, difference in differences.items() if difference is not None}
    if not found:
        return _not_applicable(name, "No pair was measured.")
    worse = [segment for segment, difference in found.items() if _is_worse(difference, margin)]
    return Gate(
        name=name,
        state=GateState.FAILED if worse else GateState.PASSED,
        reason=f"It is worse by more than {margin:g} for {', '.join(worse)}." if worse else None,
        figures={"margin": margin, "level": level},
        segments={segment: _told(difference) for segment, difference in found.items()},
    )


def _coverage(evidence: Evidence, share: float) -> Gate:
    name = GateName.COVERAGE
    missing = _beside_live(name, evidence, evidence.no_lists)
    if missing is not None:
        return missing
    new, live = _of_lists(evidence, "coverage")
    if new is None or live is None:
        return _not_applicable(name, "Its coverage, or that of what is live, was not measured.")
    reason = f"It recommends {new:.4f} of the songs, less than {share:g} of the {live:.4f} that is live."
    return _decided(name, reason, is_passed=new >= share * live, value=new, live=live, share=share)


def _popularity(evidence: Evidence, shift: float) -> Gate:
    name = GateName.POPULARITY
    missing = _beside_live(name, evidence, evidence.no_lists)
    if missing is not None:
        return missing
    new, live = _of_lists(evidence, "popularity")
    if new is None or live is None:
        return _not_applicable(name, "Its mean popularity, or that of what is live, was not measured.")
    reason = f"The mean popularity moves by {new - live:+.4f}, more than {shift:g}."
    return _decided(name, reason, is_passed=abs(new - live) <= shift, value=new, live=live, shift=shift)


def _recall(evidence: Evidence, limit: float) -> Gate:
    name, index = GateName.RECALL, evidence.index
    if index is None:
        return _not_applicable(name, "The model has no index yet.")
    told = {"recall": index.recall, "profile_recall": index.profile_recall, "neighbour_recall": index.neighbour_recall}
    figures = {key: value for key, value in told.items() if value is not None}
    least = min(figures.values())
    return _decided(
        name, f"A recall of {least:.4f} is below {limit:g}.", is_passed=least >= limit, **figures, limit=limit
    )


def _latency(evidence: Evidence, limit: float) -> Gate:
    name, latency = GateName.LATENCY, evidence.latency
    if latency is None:
        return _not_applicable(name, "Its searches were not timed: it was built before they were.")
    reason = f"99 % of searches take up to {latency.p99_ms:.3f} ms, more than {limit:g} ms."
    figures = {"p50_ms": latency.p50_ms, "p99_ms": latency.p99_ms, "n": float(latency.n_searches)}
    return _decided(name, reason, is_passed=latency.p99_ms <= limit, **figures, limit_ms=limit)


def _difference(
    ranks: PairRanks | None, live: PairRanks | None, *, hr_weight: float, level: float
) -> PairedDifference | None:
    if ranks is None or live is None:
        return None
    return paired_difference(ranks.ranks, live.ranks, hr_weight=hr_weight, level=level)


def _is_worse(difference: PairedDifference, margin: float) -> bool:
    return difference.value < -margin and difference.high < 0.0


def _told(difference: PairedDifference) -> dict[str, float]:
    return {
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p_value": difference.p_value,
        "n": float(difference.n),
    }


def _of_lists(evidence: Evidence, name: Literal["coverage", "popularity"]) -> tuple[float | None, float | None]:
    both = (evidence.measurement, evidence.live_measurement)
    new, live = (None if one is None else one.coverage if name == "coverage" else one.popularity for one in both)
    return new, live
