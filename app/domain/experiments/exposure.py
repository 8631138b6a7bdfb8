"""Exposures: who has seen which variant first, and when.

The first answer to a user records the exposure, durably before the answer counts. It is never changed but for
`crossed_at_ms`: when the user was first seen with another variant. Who crossed is left out of results and counted.
"""

from dataclasses import dataclass
from enum import StrEnum

MAX_EXPOSURES_PER_REQUEST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A user's exposure; instants are epoch milliseconds, `segment` the user's at that moment, if any.

    `revision` is that of the allocation that assigned the variant.
    """

    experiment_id: str
    user_id: str
    variant: str
    segment: str | None
    exposed_at_ms: int
    revision: int
    crossed_at_ms: int | None = None


class ExposureVerdict(StrEnum):
    """What became of an exposure that was told: new, known already, or seen with another variant than before."""

    RECORDED = "recorded"
    KNOWN = "known"
    CROSSED = "crossed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """What is recorded of a user after an exposure was told, and what became of it."""

    exposure: Exposure
    verdict: ExposureVerdict
