"""Instants in bodies: RFC 3339 text with an offset, kept as whole milliseconds since 1970."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.domain.errors import InvalidRequest
from app.domain.plays import LATEST_MS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?\d*([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def _instant(value: object) -> datetime:
    """The instant that a text names, or an instant as it is."""
    if isinstance(value, datetime):
        return value
    found = RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and found is not None:
        whole, fraction, offset = value[:19], found[1] or "", found[2].upper()
        try:
            return datetime.fromisoformat(f"{whole}{fraction}{offset}")
        except ValueError:
            pass  # a day or an hour that there is not
    kind = "no_instant"
    message = "Input should be an instant with an offset, such as 2026-01-01T12:00:00Z"
    raise PydanticCustomError(kind, message)


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-01T12:00:00Z"]}),
]
"""An aware instant; sub-microsecond digits are dropped."""


def epoch_ms(instant: datetime, *, pointer: str, name: str = "played_at") -> int:
    """Whole milliseconds since 1970. Raises: InvalidRequest before 1970 and after 9999."""
    since = (instant - EPOCH) // timedelta(milliseconds=1)
    if not 0 <= since <= LATEST_MS:
        raise InvalidRequest(f"{name} must be between the years 1970 and 9999.", pointer=pointer)
    return since
