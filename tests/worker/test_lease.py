"""Heartbeats: in time, again after an outage, and never after they were stopped."""

import time
from collections.abc import Callable

import pytest

from app.domain.errors import LostLease, SegueError, StorageFull, Unavailable
from app.domain.lease import HeartbeatAnswer, Progress
from worker.lease import Pulse


class Beats:
    """Heartbeats as a service hears them."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, Progress | None]] = []
        self.answers: list[HeartbeatAnswer | Exception] = []

    def __call__(self, progress: Progress | None) -> HeartbeatAnswer:
        self.heard.append((time.monotonic(), progress))
        answer = self.answers.pop(0) if self.answers else HeartbeatAnswer.CONTINUE
        if isinstance(answer, Exception):
            raise answer
        return answer


def until(is_so: Callable[[], bool], *, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
    return is_so()


def pulse(beats: Beats, *, lease_s: float = 0.3, tell_every_s: float = 0.05) -> Pulse:
    return Pulse(beats, lease_s=lease_s, claimed_at_s=time.monotonic(), tell_every_s=tell_every_s)


def test_a_lease_is_renewed_several_times_before_it_ends() -> None:
    beats = Beats()
    beating = pulse(beats, lease_s=0.3)
    beating.start()
    time.sleep(0.7)
    beating.stop()
    assert 4 <= len(beats.heard) <= 8
    assert not beating.has_lapsed


def test_heartbeats_come_as_often_as_is_set() -> None:
    beats = Beats()
    beating = Pulse(beats, lease_s=60, claimed_at_s=time.monotonic(), interval_s=0.05)
    beating.start()
    assert until(lambda: len(beats.heard) == 3)
    beating.stop()


def test_progress_is_told_soon_and_the_latest_only() -> None:
    beats = Beats()
    beating = pulse(beats, lease_s=60, tell_every_s=0.1)
    beating.start()
    for step in range(10):
        beating.note(Progress(phase="train", fraction=step / 10))
    assert until(lambda: len(beats.heard) == 1)
    beating.stop()
    assert [progress.fraction for _, progress in beats.heard if progress] == [0.9]


def test_progress_that_an_outage_swallowed_is_told_after_it() -> None:
    beats = Beats()
    beats.answers = [Unavailable("away"), Unavailable("away")]
    beating = pulse(beats, lease_s=60, tell_every_s=0.01)
    beating.start()
    beating.note(Progress(phase="train", fraction=0.4))
    assert until(lambda: len(beats.heard) == 3)
    beating.stop()
    assert beats.heard[-1][1] == Progress(phase="train", fraction=0.4)


@pytest.mark.parametrize("trouble", [Unavailable("away"), StorageFull("no space"), RuntimeError("unheard of")])
def test_a_lease_that_cannot_be_renewed_lapses_and_may_be_renewed_later(trouble: Exception) -> None:
    beats = Beats()
    beats.answers = [trouble] * 3
    beating = pulse(beats, lease_s=0.3)
    beating.start()
    assert until(lambda: beating.has_lapsed)
    assert until(lambda: not beating.has_lapsed)
    beating.stop()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (HeartbeatAnswer.CANCEL, HeartbeatAnswer.CANCEL),
        (HeartbeatAnswer.LOST, HeartbeatAnswer.LOST),
        (LostLease("somebody else's"), HeartbeatAnswer.LOST),
    ],
)
def test_the_pulse_ends_when_it_is_told_to_stop(answer: HeartbeatAnswer | SegueError, told: HeartbeatAnswer) -> None:
    beats = Beats()
    beats.answers = [answer]
    beating = pulse(beats, lease_s=0.15)
    beating.start()
    assert until(lambda: beating.answer is told)
    time.sleep(0.2)
    beating.stop()
    assert len(beats.heard) == 1


def test_a_lease_is_counted_from_before_the_claim() -> None:
    beating = Pulse(Beats(), lease_s=10, claimed_at_s=time.monotonic() - 11)
    assert beating.has_lapsed


def test_a_stopped_pulse_is_silent() -> None:
    beats = Beats()
    beating = pulse(beats, lease_s=0.1)
    beating.start()
    beating.stop()
    n_heard = len(beats.heard)
    time.sleep(0.2)
    assert len(beats.heard) == n_heard


def test_a_lease_that_was_nearly_spent_on_the_claim_is_renewed_before_the_work() -> None:
    beats = Beats()
    beating = Pulse(beats, lease_s=60, claimed_at_s=time.monotonic() - 100)
    beating.start()
    assert not beating.has_lapsed
    assert len(beats.heard) == 1
    beating.stop()


def test_a_lease_that_was_lost_during_the_claim_is_noticed_before_the_work() -> None:
    beats = Beats()
    beats.answers = [HeartbeatAnswer.LOST]
    beating = Pulse(beats, lease_s=60, claimed_at_s=time.monotonic() - 100)
    beating.start()
    assert beating.answer is HeartbeatAnswer.LOST
    beating.stop()
    assert len(beats.heard) == 1
