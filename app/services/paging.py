"""Pages of a list."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows and the cursor that the next page starts from, None on the last."""

    rows: list[T]
    next_cursor: str | None


def page_of(rows: list[T], *, limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """A page of at most `limit` rows, made of a query for one row more."""
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], cursor(rows[limit - 1]))
