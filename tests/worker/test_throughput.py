"""Measuring in real processes, some of which go wrong."""

import sys
import time

import pytest

from tests.worker.stand_in_rehearsal import DIES, GOES_WELL, RAISES
from worker.rehearsal import made_up_listening
from worker.throughput import Measured, Shape, measure

STAND_IN = (sys.executable, "-m", "tests.worker.stand_in_rehearsal")


def test_the_plays_of_all_processes_count() -> None:
    shapes = [Shape(2, GOES_WELL), Shape(1, GOES_WELL)]
    assert [each.plays_per_s for each in measure(shapes, command=STAND_IN)] == [2e6, 1e6]


@pytest.mark.parametrize(("threads", "code"), [(DIES, 9), (RAISES, 1)])
def test_a_shape_whose_process_dies_is_left_out_and_the_others_are_not(threads: int, code: int) -> None:
    dead, well = measure([Shape(1, threads), Shape(1, GOES_WELL)], command=STAND_IN)
    assert dead == Measured(shape=Shape(1, threads), reason=f"1 of 1 ended early, with code {code}.")
    assert well.plays_per_s == 1e6


def test_when_measuring_itself_ends_its_last_words_are_the_reason() -> None:
    (none,) = measure([Shape(9, 9)], command=STAND_IN)
    assert none.plays_per_s is None
    assert none.reason == "Measuring ended with code 3. the kernel does not compile"


def test_measuring_ends_in_time_with_what_was_measured_till_then() -> None:
    began_s = time.monotonic()
    first, last = measure([Shape(1, 1), Shape(8, 8)], command=STAND_IN, limit_s=4)
    assert time.monotonic() - began_s < 8
    assert first.plays_per_s == 5
    assert last.reason == "Measuring took more than 4 s."


def test_a_command_that_does_not_exist_raises() -> None:
    with pytest.raises(OSError, match="No such file"):
        measure([Shape(1, 1)], command=["/no/such/program"])


def test_real_training_has_a_figure() -> None:
    (one,) = measure([Shape(1, 1)])
    assert one.plays_per_s is not None, one.reason
    assert one.plays_per_s > 1000


def test_the_made_up_listening_is_the_same_every_time_and_unevenly_popular() -> None:
    first, again = made_up_listening(), made_up_listening()
    assert (first.plays == again.plays).all()
    counts = first.training_counts(held_out=False)
    assert counts.sum() == len(first.plays)
    assert counts.max() > 100 * counts.mean()


@pytest.mark.parametrize("text", ["0x1", "1x0", "2", "ax1", "1x1x1"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Shape.read(text)
