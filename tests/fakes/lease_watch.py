"""A watch that needs no two looks: it believes a clock that never jumps."""

from collections.abc import Callable, Sequence

from app.domain.ports import Clock, L


class ClockLeaseWatch:
    """Leases lapse when the clock has passed their end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def unextended(self, read: Callable[[], Sequence[L]]) -> list[L]:
        """Those that `read` gives whose lease has ended."""
        now = self._clock.now()
        return [value for value in read() if value.lease is not None and value.lease.expires_at < now]
