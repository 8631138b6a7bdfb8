"""A watch that needs no two looks: it believes a clock that never jumps."""

from collections.abc import Callable, Sequence

from app.domain.ports import Clock, L


class ClockLeaseWatch:
    """Leases lapse when the clock has passed their end. `meanwhile` happens between a look and what follows from it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.meanwhile: Callable[[], object] = lambda: None

    def unextended(self, read: Callable[[], Sequence[L]]) -> list[L]:
        """Those that `read` gives whose lease has ended."""
        now = self._clock.now()
        lapsed = [value for value in read() if value.lease is not None and value.lease.expires_at < now]
        self.meanwhile()
        return lapsed
