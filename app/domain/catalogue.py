"""The catalogue: what is said of songs while models serve, whatever their files hold.

    said      title, artist and further columns, laid over those of the model's files
    denied    a song whose rights were withdrawn: it is answered with no longer
    beside    the songs that a new song was played beside, and how often: its provisional vector in any model that has
              not trained on it

Every change takes the next revision of the catalogue; servers follow by reading what changed after the last they saw.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from app.domain.errors import InvalidRequest
from app.domain.filtering import MAX_COLUMN_LENGTH, MAX_VALUE_LENGTH
from app.domain.plays import check_id
from app.domain.serving import CatalogueStatus, LiveModel

Said = str | int | float | bool

MAX_TEXT_LENGTH = 1_000
MAX_DETAILS = 50
MAX_BESIDE = 200
"""Songs that a new song's vector is made of at most."""

RESERVED = frozenset({"song_id", "title", "artist", "n_plays"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SongWords:
    """What is said of a song; what is None or absent is left to the model's files."""

    title: str | None = None
    artist: str | None = None
    details: dict[str, Said] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("title", "artist"):
            _check_text(getattr(self, name), longest=MAX_TEXT_LENGTH, pointer=f"/{name}")
        if len(self.details) > MAX_DETAILS:
            raise InvalidRequest(f"A song has at most {MAX_DETAILS} details.", pointer="/details")
        for column, value in self.details.items():
            pointer = f"/details/{column}"
            if not 1 <= len(column) <= MAX_COLUMN_LENGTH or column in RESERVED:
                raise InvalidRequest(
                    f"A detail's name has between 1 and {MAX_COLUMN_LENGTH} characters and is none of "
                    f"{', '.join(sorted(RESERVED))}.",
                    pointer=pointer,
                )
            _check_text(column, longest=MAX_COLUMN_LENGTH, pointer=pointer)
            if isinstance(value, str):
                _check_text(value, longest=MAX_VALUE_LENGTH, pointer=pointer)
            elif isinstance(value, float) and not math.isfinite(value):
                raise InvalidRequest("A detail is a finite number, a text, or true or false.", pointer=pointer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Why a song is not to be answered with."""

    reason: str
    denied_at: datetime

    def __post_init__(self) -> None:
        if not self.reason:
            raise InvalidRequest("A denial has a reason.", pointer="/reason")
        _check_text(self.reason, longest=MAX_TEXT_LENGTH, pointer="/reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueSong:
    """One song of the catalogue at its last revision; `beside` counts plays by song id, None for no vector."""

    song_id: str
    revision: int
    updated_at: datetime
    said: SongWords | None = None
    denial: Denial | None = None
    beside: dict[str, int] | None = None
    beside_source: Literal["given", "plays"] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said of the song any more."""
        return self.said is None and self.denial is None and self.beside is None

    def __post_init__(self) -> None:
        check_id(self.song_id, pointer="/song_id")
        if self.beside is not None and not 1 <= len(self.beside) <= MAX_BESIDE:
            raise InvalidRequest(f"A new song is beside 1 to {MAX_BESIDE} songs.", pointer="/beside")
        for other, n_plays in (self.beside or {}).items():
            check_id(other, pointer="/beside")
            if n_plays < 1 or other == self.song_id:
                raise InvalidRequest("A new song is beside others, each at least once.", pointer="/beside")


@dataclass(frozen=True, slots=True, kw_only=True)
class SongChanges:
    """What a PATCH changes: `details` with a None is taken away; fields not named stay."""

    fields: Mapping[Literal["title", "artist"], str | None]
    details: Mapping[str, Said | None]

    def on(self, said: SongWords | None) -> SongWords:
        """What is said after the change. Raises: InvalidRequest."""
        before = SongWords() if said is None else said
        details = {name: value for name, value in {**before.details, **self.details}.items() if value is not None}
        return SongWords(
            title=self.fields.get("title", before.title),
            artist=self.fields.get("artist", before.artist),
            details=details,
        )


class Overlays(Protocol):
    """What is laid over loaded models."""

    def look(self) -> bool:
        """Read what changed; whether anything did. Raises: Unavailable."""
        ...

    def over(self, model: LiveModel) -> LiveModel:
        """The model as the catalogue has its songs now; the model itself when nothing touches them."""
        ...

    def status(self) -> CatalogueStatus:
        """How far it was followed."""
        ...


def _check_text(text: str | None, *, longest: int, pointer: str) -> None:
    if text is None:
        return
    if len(text) > longest:
        raise InvalidRequest(f"This text has at most {longest} characters.", pointer=pointer)
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise InvalidRequest("A text is Unicode without NUL or lone surrogates.", pointer=pointer)
