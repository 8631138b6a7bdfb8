"""Serving: what a live model answers, and what serving needs from the world.

On the hottest paths the songs of an answer are written by the model, which knows how its songs are written: ten songs
take 6 microseconds instead of 15 for ten dicts, out of cache, of some 100 that a whole request for neighbours takes.
Where they have to be looked into they are plain dicts: ten frozen dataclasses cost 11 microseconds more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic, Literal, NotRequired, Protocol, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Matrix
from app.domain.filtering import Mask, Rows, Scores, SongFilter
from app.domain.models import Alias
from app.domain.plays import PlayVerdict, Rejection
from app.domain.recommending import History

SCORE_DECIMALS = 6
"""Decimals of a score in an answer: what a float32 holds."""

T = TypeVar("T")

Detail = str | int | float | bool | None
"""The value of a further column of the songs table."""


class Neighbour(TypedDict):
    """A song near another; `score` is the model's, highest first."""

    song_id: str
    title: str | None
    artist: str | None
    score: float
    provisional: NotRequired[bool]


UnassignedReason = Literal["not_started", "paused", "stopped", "not_in_traffic", "variant_not_live", "database_away"]
"""Why a user gets what everybody gets: the experiment has not begun, lets nobody new enter, or is over; the user is not
among its traffic; this server has not loaded all variants; or nothing could keep the exposure."""


class ExperimentAnswer(TypedDict):
    """What an answer has to do with an experiment: the variant and the user's segment when first exposed.

    `reason` says why the alias answered instead of a variant; then nothing is exposed by this answer.
    """

    id: str
    variant: str | None
    segment: str | None
    is_exposed: bool
    reason: UnassignedReason | None


class SongAsked(TypedDict):
    """Which song was asked for, and which model answers.

    In an experiment it tells which, and carries the token that leads plays back to the answer.
    """

    song_id: str
    alias: str
    model_id: str
    generation: int
    experiment: NotRequired[ExperimentAnswer]
    attribution: NotRequired[str]


class NeighboursAnswer(SongAsked):
    """A song's neighbours, nearest first, the song itself never among them."""

    neighbours: list[Neighbour]


class WrittenNeighbours(SongAsked):
    """The same, its neighbours written as a JSON array already."""

    neighbours: bytes


class SongNeighbours(TypedDict):
    """One song of a batch, and its neighbours."""

    song_id: str
    neighbours: list[Neighbour]


class NeighboursBatchAnswer(TypedDict):
    """The songs asked for, in their order; `missing_ids` are those that the model does not know."""

    alias: str
    model_id: str
    generation: int
    items: list[SongNeighbours]
    missing_ids: list[str]


class MixAnswer(TypedDict):
    """The songs nearest to a mix, none of its own among them; `missing_ids` did not count."""

    alias: str
    model_id: str
    generation: int
    neighbours: list[Neighbour]
    missing_ids: list[str]


@dataclass(frozen=True, slots=True)
class WeightedSong:
    """A song to go towards, or away from; `weight` above 0."""

    song_id: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Song:
    """A song that a model knows; `details` are the further columns of its dataset's songs table.

    A provisional song has a vector until a model has trained on it; a denied one is in no list.
    """

    song_id: str
    title: str | None
    artist: str | None
    n_plays: int
    details: dict[str, Detail] = field(default_factory=dict)
    is_provisional: bool = False
    is_denied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SongAnswer:
    """One song."""

    alias: str
    model_id: str
    generation: int
    song: Song


@dataclass(frozen=True, slots=True, kw_only=True)
class SongsAnswer:
    """Songs found, most played first; `next_cursor` is None on the last page."""

    alias: str
    model_id: str
    generation: int
    songs: list[Song]
    next_cursor: str | None


class Reason(TypedDict):
    """A song heard that drew a recommendation in: what its `n_plays` plays add to the score."""

    song_id: str
    title: str | None
    artist: str | None
    n_plays: int
    contribution: float


class Recommendation(TypedDict):
    """A song recommended; `score` is None for a popular song, which no profile was compared with.

    Where it was asked for, `because` are the songs heard that moved the score most, and `because_of_others` what all
    others add: together they are the score. In an interleaved list `attribution` is the song's own token.
    """

    song_id: str
    title: str | None
    artist: str | None
    score: float | None
    provisional: NotRequired[bool]
    because: NotRequired[list[Reason]]
    because_of_others: NotRequired[float]
    attribution: NotRequired[str]


Basis = Literal["profile", "session", "segment_popular", "popular"]
"""What songs are recommended by: all the history, its last session, what is popular in the user's segment, or at all.

Each is tried where the one before gives too few, in this order.
"""

FallbackReason = Literal["unknown_user", "no_known_songs", "history_cancels_out"]
"""Why another basis stands in: nothing was ever heard, nothing that the model knows, or vectors that sum to nothing."""

HistorySource = Literal["complete", "cached", "dataset_only", "request"]
"""The dataset's plays and those sent since; the same, as the cache knew them last, for the database is away; the
dataset's alone, for neither is there; those of the request."""


class Step(TypedDict):
    """How many of the songs, in their order, one basis gave."""

    basis: Basis
    n_songs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended(Generic[T]):
    """Songs recommended, best first, in whatever form.

    `fallback` is the basis that stands in for the one asked for, with its `reason`; `steps` tell which gave how many.
    `n_plays_used` plays made the profile; `unknown_song_ids` are songs of the history that the model does not know.
    """

    alias: str
    model_id: str
    generation: int
    user_id: str | None
    recommendations: T
    steps: list[Step]
    fallback: Literal["session", "segment_popular", "popular"] | None
    reason: FallbackReason | None
    history: HistorySource
    segment: str | None
    n_plays_used: int
    unknown_song_ids: list[str]
    attribution: str


RecommendationsAnswer = Recommended[list[Recommendation]]
"""Songs recommended and what is told of each."""

WrittenRecommendations = Recommended[bytes]
"""The same with the songs as a JSON array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRecommendations(Recommended[list[Recommendation]]):
    """Songs recommended in an experiment."""

    experiment: ExperimentAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRefused:
    """Why one user of a batch got no answer."""

    user_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    """One answer or refusal a user, in the order they were asked for."""

    alias: str
    model_id: str
    generation: int
    answers: list[RecommendationsAnswer | UserRefused]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaysAnswer:
    """One verdict a play, in the order they were sent; a rejection says why."""

    verdicts: list[PlayVerdict]
    rejections: dict[int, Rejection]
    n_accepted: int
    n_duplicate: int
    n_rejected: int


class LiveModel(Protocol):
    """A loaded model. Its songs are named by their rows: most played first."""

    @property
    def model_id(self) -> str:
        """Which model it is."""
        ...

    @property
    def n_songs(self) -> int:
        """How many songs it knows."""
        ...

    def row(self, song_id: str) -> int | None:
        """The song's row; None when the model does not know it."""
        ...

    def rows(self, song_ids: Sequence[str]) -> NDArray[np.int64]:
        """The songs' rows, -1 for those that the model does not know."""
        ...

    def neighbours(self, row: int, k: int) -> list[Neighbour]:
        """The song's k nearest, looked up, k at most 100."""
        ...

    def written_neighbours(self, row: int, k: int) -> bytes:
        """The same as a JSON array."""
        ...

    def written_songs(self, rows: Sequence[int], scores: Sequence[float | None]) -> bytes:
        """Songs and their scores as a JSON array of recommendations."""
        ...

    def nearest(self, row: int, k: int) -> tuple[list[int], list[float]]:
        """The rows and scores of the same; -1 pads."""
        ...

    def query_rows(self, rows: NDArray[np.int64]) -> Matrix:
        """The songs' unit query rows, float32 `(n, dim)`."""
        ...

    def song_rows(self, rows: NDArray[np.int64]) -> Matrix:
        """The songs' rows that are searched, float32 `(n, dim)`, a copy."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a filter may name: the artist, and the further columns of the songs table."""
        ...

    def carriers(self, column: str, values: tuple[str, ...]) -> Mask:
        """Which songs have one of the values in a column, bool `(n,)`; not to be changed."""
        ...

    @property
    def artists(self) -> NDArray[np.int32]:
        """The numbers of the songs' artists, int32 `(n,)`, -1 for none; not to be changed."""
        ...

    def artist_number(self, artist: str) -> int | None:
        """The artist's number; None when no song has it."""
        ...

    def search_within(self, vector: Matrix, k: int, *, wanted: SongFilter, excluded: Rows) -> tuple[Rows, Scores]:
        """The k best songs that the filter lets pass, best first, but for rows excluded, and their scores.

        Fewer only where so few pass. Raises: InvalidRequest for a column that there is not.
        """
        ...

    def popular_within(self, k: int, *, wanted: SongFilter, excluded: Rows) -> Rows:
        """The k most played songs that the filter lets pass, but for rows excluded. Raises: InvalidRequest."""
        ...

    def search(self, vector: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k songs nearest to a vector `(dim,)`, best first, and their scores; -1 pads."""
        ...

    def search_many(self, vectors: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The same of many vectors `(n, dim)` at once: rows and scores `(n, k)`."""
        ...

    def durations_s(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """How long the songs are, NaN where the songs table does not say."""
        ...

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of its songs, by number; none when its dataset has none."""
        ...

    def segments_of(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The numbers of the songs' segments, -1 for a song without one."""
        ...

    def popular(self, n: int, *, segment: int | None = None) -> NDArray[np.int64]:
        """The n most played songs, of one segment or of all; fewer where there are fewer."""
        ...

    def song(self, row: int) -> Song:
        """What is known of a song."""
        ...

    def names(self, row: int) -> tuple[str, str | None, str | None]:
        """The song's id, title and artist."""
        ...

    def is_provisional(self, row: int) -> bool:
        """Whether the song's vector stands in until a model has trained on it."""
        ...

    def find(self, words: str, *, start: int, limit: int) -> list[int]:
        """Up to `limit` rows from `start` on of songs with all the words in title or artist, case and accents aside."""
        ...

    def history(self, user_id: str) -> History | None:
        """The user's plays in the model's dataset, newest first; None when it has none."""
        ...


def told_songs(model: LiveModel, rows: Sequence[int], scores: Sequence[float | None]) -> list[Recommendation]:
    """Songs of a model by their names, with their scores."""
    answer: list[Recommendation] = []
    for row, score in zip(rows, scores, strict=True):
        song_id, title, artist = model.names(row)
        rounded = None if score is None else round(score, SCORE_DECIMALS)
        told: Recommendation = {"song_id": song_id, "title": title, "artist": artist, "score": rounded}
        if model.is_provisional(row):
            told["provisional"] = True
        answer.append(told)
    return answer


@dataclass(frozen=True, slots=True)
class Live:
    """The models that an alias names, loaded; `generation` counts the alias's moves.

    `model` answers for all segments but those of `segments`, which have models of their own.
    """

    alias: str
    generation: int
    model: LiveModel
    segments: Mapping[str, LiveModel] = field(default_factory=dict)

    def of(self, segment: str | None) -> "Live":
        """The same with the model of one segment for its model; itself where the segment has none of its own."""
        own = None if segment is None else self.segments.get(segment)
        return self if own is None else replace(self, model=own)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueStatus:
    """How far a server has followed the catalogue: the revision it answers by, and when it last saw none later."""

    revision: int
    n_denied: int
    n_provisional: int
    read_at: datetime | None


class LiveModels(Protocol):
    """The models that serve now."""

    def get(self, alias: str) -> Live:
        """What is live under the alias: one reference, whole whatever happens meanwhile. Raises: NothingLive."""
        ...

    def of_model(self, model_id: str) -> Live:
        """A model that is live under some alias, the first by name. Raises: ModelNotLive."""
        ...

    def all(self) -> Sequence[Live]:
        """Everything that is live, by alias."""
        ...


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """An alias and the names of the files that serve under it: of its model, and of all its models by their ids."""

    alias: Alias
    files: str
    members: Mapping[str, str] = field(default_factory=dict)

    def files_of(self, model_id: str) -> str:
        """The name of a member's files."""
        return self.members.get(model_id, self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasStatus:
    """How far serving has followed an alias: what it points to, what is live, and why they differ if they do.

    `has_table`: what is live has taken up the table of neighbours that was built after it. `neighbours_error`: why what
    is live searches, although its table is ready.
    """

    alias: str
    wanted_model_id: str
    wanted_generation: int
    live_model_id: str | None
    live_generation: int | None
    loaded_at: datetime | None
    error: str | None
    has_table: bool = False
    neighbours_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingStatus:
    """What serves. `is_ready` once every alias seen at the first look is live, or when there was none."""

    is_ready: bool
    aliases: list[AliasStatus]
    looked_at: datetime | None
    lookup_error: str | None
    catalogue: CatalogueStatus | None = None
