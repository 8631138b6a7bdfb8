"""Which leases nobody extends any more, as one looker-on sees it by a clock that never steps.

A lease counts as lapsed once the looker-on itself has seen it unextended for its whole length. The instant at which it
expires only tells whether it was extended in between; it is compared with no clock. So a clock that jumps, be it the
database's or a machine's, neither kills who is alive (forward) nor keeps who is dead (backward): who looks every i
seconds takes a dead worker's lease at most its length and 2 i after the last extension. A holder counts from before
it asked for the extension (`worker.lease`), and so gives up before anybody else may take over.
"""

import time
from collections.abc import Callable, Sequence

from app.domain.lease import Lease
from app.domain.ports import L


class SteadyLeaseWatch:
    """What one looker-on has seen; `lease_s` is the length of leases that don't tell theirs."""

    def __init__(self, *, lease_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._lease_s = lease_s
        self._now_s = now_s
        self._seen: dict[str, tuple[Lease, float]] = {}

    def unextended(self, read: Callable[[], Sequence[L]]) -> list[L]:
        """Those that `read` gives whose lease was seen unextended for its whole length.

        What is read holds from some moment between the two looks at the clock: seen first not before the later one,
        seen last not after the earlier one.
        """
        asked_at_s = self._now_s()
        leased = read()
        read_at_s = self._now_s()
        before, self._seen = self._seen, {}
        lapsed = []
        for value in leased:
            if value.lease is None:
                continue
            lease, since_s = before.get(value.id, (value.lease, read_at_s))
            if lease != value.lease:
                since_s = read_at_s
            self._seen[value.id] = (value.lease, since_s)
            if asked_at_s - since_s >= (value.lease.length_s or self._lease_s):
                lapsed.append(value)
        return lapsed
