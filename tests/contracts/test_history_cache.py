"""What every cache of histories promises: what is found was filled in last, and nothing is filled in over a change."""

from collections.abc import Iterator

import numpy as np
import pytest

from app.adapters.redis.histories import RedisHistories
from app.domain.plays import RecentPlays, recent_plays
from app.domain.ports import HistoryCache
from tests.fakes.history_cache import DictHistories

PLAYS = recent_plays(
    [("song é", 1_767_268_800_000, "like", None, 60.5), ("b", 5, "play", 30.0, None)],
    is_whole=True,
)


@pytest.fixture(params=["dict", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[HistoryCache]:
    made: HistoryCache
    if request.param == "dict":
        made = DictHistories(n_kept=3)
    else:
        url = request.getfixturevalue("redis_url")
        made = RedisHistories(url, n_kept=3)
        made._client.flushdb()
    yield made
    made.stop()


def ticket_of(cache: HistoryCache, user_id: str = "u", *, epoch: int = 1) -> str:
    ticket = cache.find(user_id, epoch=epoch)
    assert isinstance(ticket, str)
    return ticket


def filled(cache: HistoryCache, user_id: str = "u") -> None:
    cache.fill(user_id, PLAYS, epoch=1, ticket=ticket_of(cache, user_id))


def test_what_was_filled_in_is_found(cache: HistoryCache) -> None:
    filled(cache)

    found = cache.find("u", epoch=1)

    assert isinstance(found, RecentPlays)
    assert list(found.song_ids) == ["song é", "b"]
    assert (found.played_at_ms.tolist(), found.events.tolist()) == ([1_767_268_800_000, 5], [2, 0])
    np.testing.assert_array_equal(found.seconds_streamed, [np.nan, 30.0])
    np.testing.assert_array_equal(found.durations_s, [60.5, np.nan])
    assert found.is_whole


def test_a_user_without_plays_is_found_to_have_none(cache: HistoryCache) -> None:
    cache.fill("u", recent_plays([], is_whole=True), epoch=1, ticket=ticket_of(cache))

    found = cache.find("u", epoch=1)

    assert isinstance(found, RecentPlays)
    assert (len(found), found.is_whole) == (0, True)


def test_only_the_newest_are_kept(cache: HistoryCache) -> None:
    rows = [(f"s{place}", 10 - place, "play", None, None) for place in range(5)]
    cache.fill("u", recent_plays(rows, is_whole=True), epoch=1, ticket=ticket_of(cache))

    found = cache.find("u", epoch=1)

    assert isinstance(found, RecentPlays)
    assert (list(found.song_ids), found.is_whole) == (["s0", "s1", "s2"], False)


def test_one_at_a_time_may_fill_in(cache: HistoryCache) -> None:
    ticket_of(cache)

    assert cache.find("u", epoch=1) is None


def test_another_users_ticket_and_one_that_was_never_given_fill_nothing_in(cache: HistoryCache) -> None:
    other = ticket_of(cache, "other")
    ticket_of(cache)

    cache.fill("u", PLAYS, epoch=1, ticket=other)
    cache.fill("u", PLAYS, epoch=1, ticket="made up")

    assert cache.find("u", epoch=1) is None


def test_a_change_ends_what_was_cached(cache: HistoryCache) -> None:
    filled(cache)

    assert cache.close({"u"}, epoch=1)
    assert cache.find("u", epoch=1) is None
    assert cache.open({"u"}, epoch=1)

    assert isinstance(cache.find("u", epoch=1), str)


def test_what_was_read_before_a_change_is_not_kept_after_it(cache: HistoryCache) -> None:
    ticket = ticket_of(cache)
    cache.close({"u"}, epoch=1)
    cache.open({"u"}, epoch=1)
    later = ticket_of(cache)

    cache.fill("u", PLAYS, epoch=1, ticket=ticket)

    assert cache.find("u", epoch=1) is None
    cache.fill("u", PLAYS, epoch=1, ticket=later)
    assert isinstance(cache.find("u", epoch=1), RecentPlays)


def test_nothing_is_filled_in_while_a_change_is_under_way(cache: HistoryCache) -> None:
    ticket = ticket_of(cache)
    cache.close({"u"}, epoch=1)

    cache.fill("u", PLAYS, epoch=1, ticket=ticket)

    cache.open({"u"}, epoch=1)
    assert isinstance(cache.find("u", epoch=1), str)


def test_of_two_changes_the_last_to_end_opens(cache: HistoryCache) -> None:
    cache.close({"u"}, epoch=1)
    cache.close({"u", "v"}, epoch=1)

    cache.open({"u"}, epoch=1)
    assert cache.find("u", epoch=1) is None

    cache.open({"u", "v"}, epoch=1)
    assert isinstance(cache.find("u", epoch=1), str)
    assert isinstance(cache.find("v", epoch=1), str)


def test_what_is_cached_under_one_epoch_is_not_found_under_another(cache: HistoryCache) -> None:
    filled(cache)

    assert isinstance(cache.find("u", epoch=2), str)
    assert isinstance(cache.find("u", epoch=1), RecentPlays)


def test_many_users_are_closed_and_opened_at_once(cache: HistoryCache) -> None:
    users = {f"user {number}" for number in range(1_201)}
    assert cache.close(users, epoch=1)
    assert cache.find("user 1200", epoch=1) is None

    assert cache.open(users, epoch=1)

    assert isinstance(cache.find("user 0", epoch=1), str)
    assert isinstance(cache.find("user 1200", epoch=1), str)
