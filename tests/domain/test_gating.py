"""Each gate passes, fails, and says why it cannot be computed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from app.domain.gates import Gate, GateLimits, GateName, GateReport, GateState
from app.domain.gating import Evidence, judged
from app.domain.models import IndexFacts, Latency
from app.domain.pairing import LEFT_OUT, PairRanks
from tests.values import measurement, ranks_of

INDEX = IndexFacts(kind="ivf", n_songs=9, dim=2, n_neighbours=4, recall=0.97, profile_recall=0.93)


def evidence(new: Sequence[int] = (50, 50), live: Sequence[int] = (50, 50)) -> Evidence:
    """Two models with so many hits in each segment, otherwise alike."""
    return Evidence(
        model_id="new",
        live_model_id="live",
        ranks=ranks_of(new),
        live_ranks=ranks_of(live),
        measurement=measurement(0.2),
        live_measurement=measurement(0.2),
        index=INDEX,
        latency=Latency(p50_ms=1.0, p99_ms=3.0, n_searches=200),
    )


def gate(name: GateName, of: Evidence, limits: GateLimits | None = None) -> Gate:
    report = judged(of, GateLimits() if limits is None else limits)
    return next(found for found in report.gates if found.name is name)


def states(report: GateReport) -> set[GateState]:
    return {found.state for found in report.gates}


def test_a_model_that_is_as_good_passes_every_gate() -> None:
    report = judged(evidence(), GateLimits())
    assert report.is_passed
    assert [found.name for found in report.gates] == list(GateName)
    assert states(report) == {GateState.PASSED}


@pytest.mark.parametrize(("new", "state"), [((20, 20), "failed"), ((49, 50), "passed"), ((90, 90), "passed")])
def test_a_model_fails_the_paired_gate_where_it_is_shown_to_be_worse(new: tuple[int, int], state: str) -> None:
    found = gate(GateName.PAIRED, evidence(new))
    assert found.state == state
    assert found.figures["difference"] == pytest.approx((sum(new) - 100) / 400)
    assert found.figures["n"] == 400
    assert (found.reason is None) == (state == "passed")


@pytest.mark.parametrize(("new", "state"), [((50, 50), "failed"), ((90, 90), "passed")])
def test_a_model_may_have_to_be_shown_to_be_better(new: tuple[int, int], state: str) -> None:
    assert gate(GateName.PAIRED, evidence(new), GateLimits(paired_rule="better")).state == state


def test_a_segment_that_loses_fails_however_much_another_gains() -> None:
    found = gate(GateName.SEGMENTS, evidence((20, 190)))
    assert found.state is GateState.FAILED
    assert "ar" in str(found.reason)
    assert set(found.segments) == {"ar", "en"}
    assert found.segments["ar"]["difference"] == pytest.approx(-0.15)
    assert gate(GateName.PAIRED, evidence((20, 190))).state is GateState.PASSED
    assert gate(GateName.SEGMENTS, evidence((20, 190)), GateLimits(segment_margin=0.3)).state is GateState.PASSED


def test_what_cannot_be_computed_says_so_and_passes_for_no_figure() -> None:
    none = np.full(4, LEFT_OUT, dtype=np.uint8)
    left_out = PairRanks(none, np.zeros(4, dtype=np.uint8), ("ar",))
    without = replace(measurement(0.2), coverage=None, popularity=None)
    plain = PairRanks(np.ones(4, dtype=np.uint8), np.zeros(4, dtype=np.uint8), ())
    for of, names in (
        (replace(evidence(), no_pairs="other pairs", no_lists="other pairs"), list(GateName)[:4]),
        (replace(evidence(), live_model_id=None), list(GateName)[:4]),
        (replace(evidence(), live_model_id="new"), list(GateName)[:4]),
        (replace(evidence(), ranks=left_out, live_ranks=left_out), list(GateName)[:2]),
        (replace(evidence(), ranks=None), list(GateName)[:2]),
        (replace(evidence(), ranks=plain, live_ranks=plain), [GateName.SEGMENTS]),
        (replace(evidence(), measurement=without), [GateName.COVERAGE, GateName.POPULARITY]),
        (replace(evidence(), live_measurement=None), [GateName.COVERAGE, GateName.POPULARITY]),
        (replace(evidence(), index=None, latency=None), [GateName.RECALL, GateName.LATENCY]),
    ):
        report = judged(of, GateLimits())
        found = {each.name: each for each in report.gates if each.state is GateState.NOT_APPLICABLE}
        assert list(found) == names
        assert all(each.reason and not each.figures for each in found.values())
        assert report.is_passed


def test_a_required_gate_refuses_where_it_cannot_be_computed_beside_a_live_model() -> None:
    limits = GateLimits(required=(GateName.PAIRED,))
    apart = replace(evidence(), no_pairs="other pairs")
    assert not judged(apart, limits).is_passed
    assert judged(replace(apart, live_model_id=None), limits).is_passed


def test_coverage_is_held_beside_that_of_the_live_model() -> None:
    narrow = replace(evidence(), measurement=replace(measurement(0.2), coverage=0.3))
    assert gate(GateName.COVERAGE, narrow).state is GateState.FAILED
    assert gate(GateName.COVERAGE, narrow, GateLimits(coverage_share=0.6)).state is GateState.PASSED


@pytest.mark.parametrize("popularity", [0.3, 0.0])
def test_popularity_may_move_neither_way(popularity: float) -> None:
    moved = replace(evidence(), measurement=replace(measurement(0.2), popularity=popularity))
    assert gate(GateName.POPULARITY, moved, GateLimits(popularity_shift=0.05)).state is GateState.FAILED


def test_the_least_recall_counts() -> None:
    assert gate(GateName.RECALL, evidence(), GateLimits(recall=0.95)).state is GateState.FAILED
    assert gate(GateName.RECALL, evidence(), GateLimits(recall=0.93)).state is GateState.PASSED


def test_slow_searches_refuse_also_a_first_model() -> None:
    first = replace(evidence(), live_model_id=None)
    report = judged(first, GateLimits(latency_p99_ms=2.0))
    assert not report.is_passed
    assert "3.000 ms" in str(report.gates[-1].reason)


def test_a_gate_that_is_off_looks_at_nothing() -> None:
    off = GateLimits(
        paired_margin=None,
        segment_margin=None,
        coverage_share=None,
        popularity_shift=None,
        recall=None,
        latency_p99_ms=None,
    )
    report = judged(evidence((0, 0)), off)
    assert report.is_passed
    assert states(report) == {GateState.OFF}


def test_a_segment_without_a_measured_pair_is_left_out() -> None:
    ranks = ranks_of((50, 50))
    silent = replace(ranks, ranks=np.where(ranks.segment == 0, LEFT_OUT, ranks.ranks).astype(np.uint8))
    found = gate(GateName.SEGMENTS, replace(evidence(), ranks=silent, live_ranks=silent))
    assert list(found.segments) == ["en"]
