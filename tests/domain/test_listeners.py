"""When histories may be cached."""

from datetime import timedelta

from app.domain.listeners import CacheState, first_state
from tests.values import NOON


def test_the_first_state_is_on() -> None:
    assert not first_state(NOON).is_off(NOON)


def test_it_is_off_until_the_instant_and_has_another_epoch_from_then_on() -> None:
    state = first_state(NOON).put_off(NOON, for_s=30)

    assert state.epoch == 2
    assert state.is_off(NOON + timedelta(seconds=29))
    assert not state.is_off(NOON + timedelta(seconds=30))


def test_it_is_off_for_long_enough_or_it_is_not() -> None:
    state = first_state(NOON).put_off(NOON, for_s=30)

    assert state.is_off(NOON, for_s=29)
    assert not state.is_off(NOON, for_s=30)


def test_putting_it_off_never_brings_it_back_sooner() -> None:
    state = CacheState(epoch=5, off_until=NOON + timedelta(hours=1))

    assert state.put_off(NOON, for_s=30).off_until == NOON + timedelta(hours=1)
