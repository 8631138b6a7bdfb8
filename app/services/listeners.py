"""Listeners: what servers follow of users; see `app.domain.listeners`."""

from app.domain.listeners import ListenerChanges, first_state
from app.domain.repositories import UnitsOfWork

ERASURES_AT_ONCE = 10_000


class ListenerService:
    """Tells servers what changed. `has_cache`: this server has a cache of histories, and says so once."""

    def __init__(self, units: UnitsOfWork, *, has_cache: bool) -> None:
        self._units = units
        self._has_cache = has_cache

    def changes(self, after: int) -> ListenerChanges:
        """Users erased after a revision, and the epoch to cache under. Raises: Unavailable."""
        with self._units.reading() as unit:
            state = unit.listeners.cache()
            erasures = unit.listeners.erasures(after=after, limit=ERASURES_AT_ONCE)
            now = unit.now()
        if state is None and self._has_cache:
            self._announce_cache()
        epoch = None if state is None or state.is_off(now) else state.epoch
        return ListenerChanges(erasures=erasures, epoch=epoch)

    def _announce_cache(self) -> None:
        """Say that there is a cache from now on: the first server that has one does."""
        with self._units() as unit:
            unit.listeners.lock()
            if unit.listeners.cache() is None:
                unit.listeners.set_cache(first_state(unit.now()))
                unit.commit()
