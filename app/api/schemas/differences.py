"""How two models' neighbours differ: what a client asks for and what it is told."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from app.api.schemas.base import Parameters, ResourceId, View
from app.api.schemas.models import MODEL_ID, OTHER_MODEL_ID
from app.domain.differences import ChangedSong, NamedSong
from app.domain.recommending import MAX_K
from app.services.differences import DifferenceReport


class DifferenceParameters(Parameters):
    """Against which model, and which page of the songs that change."""

    against: ResourceId = Field(description="The other model, such as the one that is live.")
    k: int = Field(default=10, ge=1, le=MAX_K, description="Neighbours of each song that are compared.")
    limit: int = Field(default=50, ge=1, le=200, description="Most songs of the page.")
    cursor: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")] | None = Field(
        default=None, description="`next_cursor` of the page before."
    )


class NamedSongView(View):
    """A song by its id and names."""

    song_id: str
    title: str | None
    artist: str | None

    @classmethod
    def of(cls, song: NamedSong) -> "NamedSongView":
        """The view of a song."""
        return cls(song_id=song.song_id, title=song.title, artist=song.artist)


class ChangedSongView(NamedSongView):
    """A song, the share of its neighbours that both models give, and those that only one of them does."""

    n_plays: int
    overlap: float
    gained: list[NamedSongView] = Field(description="Neighbours by the model, not by the other.")
    lost: list[NamedSongView] = Field(description="Neighbours by the other, not by the model.")

    @classmethod
    def of_change(cls, change: ChangedSong) -> "ChangedSongView":
        """The view of a change."""
        return cls(
            song_id=change.song.song_id,
            title=change.song.title,
            artist=change.song.artist,
            n_plays=change.n_plays,
            overlap=change.overlap,
            gained=[NamedSongView.of(song) for song in change.only_one],
            lost=[NamedSongView.of(song) for song in change.only_other],
        )


class SegmentOverlapView(View):
    """The songs of one segment that both models know, and their mean overlap."""

    n_songs: int
    overlap: float


class DifferenceView(View):
    """How the neighbours of one model differ from another's, over the songs that both know.

    `overlap` is the mean share of k neighbours that both give; a neighbour that the other model does not know counts
    as one that it lacks. Segments are those of the songs. `items` are the songs whose neighbours change most.
    """

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "model_id": MODEL_ID,
                    "against": OTHER_MODEL_ID,
                    "k": 10,
                    "n_common": 8010,
                    "n_only_model": 113,
                    "n_only_against": 42,
                    "overlap": 0.71,
                    "segments": {"ar": {"n_songs": 2210, "overlap": 0.64}},
                    "items": [
                        {
                            "song_id": "s06475",
                            "title": "Heavy Eyes Ignite",
                            "artist": "The American Dollar",
                            "n_plays": 31,
                            "overlap": 0.9,
                            "gained": [{"song_id": "s1", "title": "Signaling", "artist": None}],
                            "lost": [{"song_id": "s2", "title": "Freedom Blade", "artist": None}],
                        }
                    ],
                    "next_cursor": "50",
                }
            ]
        },
    )

    model_id: str
    against: str
    k: int
    n_common: int
    n_only_model: int
    n_only_against: int
    overlap: float | None
    segments: dict[str, SegmentOverlapView]
    items: list[ChangedSongView]
    next_cursor: str | None

    @classmethod
    def of(cls, report: DifferenceReport) -> "DifferenceView":
        """The view of a report."""
        summary = report.summary
        return cls(
            model_id=report.model_id,
            against=report.against,
            k=summary.k,
            n_common=summary.n_common,
            n_only_model=summary.n_only_one,
            n_only_against=summary.n_only_other,
            overlap=summary.overlap,
            segments={
                name: SegmentOverlapView(n_songs=n_songs, overlap=overlap)
                for name, (n_songs, overlap) in summary.segments.items()
            },
            items=[ChangedSongView.of_change(change) for change in report.page.rows],
            next_cursor=report.page.next_cursor,
        )
