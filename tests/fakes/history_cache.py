"""A cache of histories in a dict, and listeners that are followed by hand. The fakes of their ports."""

import itertools
from collections import Counter
from collections.abc import Collection

from app.domain.plays import RecentPlays


class DictHistories:
    """The port `HistoryCache`. `is_away` cuts it off."""

    def __init__(self, n_kept: int = 200) -> None:
        self.n_kept = n_kept
        self.is_away = False
        self._plays: dict[tuple[int, str], RecentPlays | str] = {}
        self._changes: Counter[tuple[int, str]] = Counter()
        self._tickets = map(str, itertools.count())

    def find(self, user_id: str, *, epoch: int) -> RecentPlays | str | None:
        key = (epoch, user_id)
        if self.is_away or self._changes[key]:
            return None
        found = self._plays.get(key)
        if found is None:
            self._plays[key] = ticket = next(self._tickets)
            return ticket
        return None if isinstance(found, str) else found

    def fill(self, user_id: str, plays: RecentPlays, *, epoch: int, ticket: str) -> None:
        key = (epoch, user_id)
        if not self.is_away and not self._changes[key] and self._plays.get(key) == ticket:
            self._plays[key] = plays.newest(self.n_kept)

    def close(self, user_ids: Collection[str], *, epoch: int) -> bool:
        return self._each(user_ids, epoch=epoch, change=1)

    def open(self, user_ids: Collection[str], *, epoch: int) -> bool:
        return self._each(user_ids, epoch=epoch, change=-1)

    def stop(self) -> None:
        self.flush()

    def flush(self) -> None:
        self._plays.clear()
        self._changes.clear()

    def _each(self, user_ids: Collection[str], *, epoch: int, change: int) -> bool:
        if self.is_away:
            return False
        for user_id in user_ids:
            key = (epoch, user_id)
            self._plays.pop(key, None)
            self._changes[key] = max(0, self._changes[key] + change)
        return True


class FixedListeners:
    """The port `FollowedListeners`: what the test says."""

    def __init__(self, *, epoch: int | None = None) -> None:
        self.epoch = epoch
        self.erased: dict[str, int] = {}

    def erased_at_ms(self, user_id: str) -> int | None:
        return self.erased.get(user_id)

    def permit(self) -> int | None:
        return self.epoch

    def last_epoch(self) -> int | None:
        return self.epoch

    def look(self) -> None:
        """It is told by the test."""
