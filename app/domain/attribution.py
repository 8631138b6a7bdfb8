"""Attribution: the token by which a play names the recommendation that led to it.

    v1.<alias>.<model id>.<generation>.<issued, milliseconds since 1970>.<random>

The token describes itself, so that answering writes nothing. It is URL-safe and at most 256 characters long. It is no
credential: whoever can send plays can make one up, and it opens nothing.
"""

import re
from dataclasses import dataclass

from app.domain.errors import InvalidRequest

LONGEST = 256

PATTERN = (
    r"v1\.([a-z0-9][a-z0-9_-]{0,63})\.([A-Za-z0-9_-]{1,64})\.(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,14})"
    r"\.([A-Za-z0-9_-]{8,32})"
)

_TOKEN = re.compile(PATTERN)


@dataclass(frozen=True, slots=True)
class Attribution:
    """One answer: by which model, as which alias at which of its moves, when; `nonce` tells answers apart."""

    alias: str
    model_id: str
    generation: int
    issued_at_ms: int
    nonce: str

    @property
    def token(self) -> str:
        """As text; see the module header."""
        return f"v1.{self.alias}.{self.model_id}.{self.generation}.{self.issued_at_ms}.{self.nonce}"


def parsed(token: str) -> Attribution:
    """What a token says. Raises: InvalidRequest when no answer carries such a token.

    >>> parsed("v1.production.mdl_a.3.1767268800000.Zk3-x_9Q").generation
    3
    """
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise InvalidRequest("attribution is not a token that a recommendation carries.", pointer="/attribution")
    alias, model_id, generation, issued_at_ms, nonce = found.groups()
    return Attribution(alias, model_id, int(generation), int(issued_at_ms), nonce)
