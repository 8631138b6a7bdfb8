"""The catalogue: what is said of songs, which are denied, and what new ones were played beside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from app.domain.catalogue import MAX_BESIDE, CatalogueSong, Denial, SongChanges, SongWords
from app.domain.errors import InvalidRequest, NotFound, Unavailable
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import LiveModels
from app.services.paging import Page, page_of

MAX_SONGS_PER_BATCH = 1_000

CHANGES_AT_ONCE = 5_000

SESSION_GAP_MS = 30 * 60 * 1000
"""Plays of one user so near to each other are side by side: what parts sessions of a dataset by default."""

PLAYS_LOOKED_AT = 200
"""The newest plays of a new song that its neighbours are counted around."""

MET_AT_ONCE = 50
"""New songs that one batch of plays may make known."""

Change = Callable[[CatalogueSong, datetime], CatalogueSong]


def catalogue_changes(units: UnitsOfWork, after: int) -> Sequence[CatalogueSong]:
    """The next songs that changed after a revision, for servers that follow."""
    with units.reading() as unit:
        return unit.catalogue.changes(after, limit=CHANGES_AT_ONCE)


class CatalogueService:
    """What editors and rights owners tell. Servers follow within seconds, this one at once."""

    def __init__(self, units: UnitsOfWork, *, live: LiveModels, poke: Callable[[], None]) -> None:
        self._units = units
        self._live = live
        self._poke = poke

    def get(self, song_id: str) -> CatalogueSong:
        """What the catalogue has of a song. Raises: NotFound."""
        with self._units.reading() as unit:
            song = unit.catalogue.having([song_id]).get(song_id)
        if song is None or song.is_empty:
            raise NotFound("song of the catalogue", song_id)
        return song

    # What is said

    def put(self, songs: Mapping[str, tuple[SongWords, Sequence[str] | None]]) -> list[CatalogueSong]:
        """Say this of up to 1,000 songs in the place of what was said before, in one unit of work.

        With each song may come those that it was played beside, if it is new. Otherwise, those are counted from plays.
        """

        def change(song: CatalogueSong, _now: datetime) -> CatalogueSong:
            said, beside = songs[song.song_id]
            if beside is None:
                return replace(song, said=said)
            counts = {other: beside.count(other) for other in dict.fromkeys(beside)}
            return replace(song, said=said, beside=counts, beside_source="given")

        changed = self._changed(dict.fromkeys(songs, change))
        self.meet([song.song_id for song in changed if song.beside is None])
        return changed

    def patch(self, song_id: str, changes: SongChanges) -> CatalogueSong:
        """Change some of what is said of a song. Raises: InvalidRequest."""
        (song,) = self._changed({song_id: lambda song, _now: replace(song, said=changes.on(song.said))})
        return song

    def remove(self, song_id: str) -> None:
        """Say nothing of a song any more, its provisional vector included; a denial stays. Safe to repeat."""
        self._changed({song_id: lambda song, _now: replace(song, said=None, beside=None, beside_source=None)})

    # Denials

    def deny(self, reasons: Mapping[str, str]) -> list[CatalogueSong]:
        """Have no list hold these songs, up to 1,000; a denial again keeps its first instant."""

        def change(song: CatalogueSong, now: datetime) -> CatalogueSong:
            denied_at = now if song.denial is None else song.denial.denied_at
            return replace(song, denial=Denial(reason=reasons[song.song_id], denied_at=denied_at))

        return self._changed(dict.fromkeys(reasons, change))

    def allow(self, song_ids: Sequence[str]) -> None:
        """Take denials back. Safe to repeat."""
        self._changed(dict.fromkeys(song_ids, lambda song, _now: replace(song, denial=None)))

    def denied(self, *, limit: int, cursor: str | None = None) -> Page[CatalogueSong]:
        """Denied songs by id."""
        with self._units.reading() as unit:
            rows = unit.catalogue.denied(limit=limit + 1, cursor=cursor)
        return page_of(rows, limit=limit, cursor=lambda song: song.song_id)

    # New songs

    def meet(self, song_ids: Sequence[str]) -> None:
        """Count what those songs were played beside that no live model has trained on, where nobody said so.

        While the database is away nothing is counted: the next play of the song is as good an occasion.
        """
        new = self._untrained(song_ids)
        if not new:
            return
        try:
            with self._units.reading() as unit:
                beside = {song_id: _beside(unit, song_id) for song_id in new}
                before = unit.catalogue.having(new)
        except Unavailable:
            return
        counted = {
            song_id: counts
            for song_id, counts in beside.items()
            if counts
            and (song_id not in before or before[song_id].beside_source != "given")
            and (song_id not in before or before[song_id].beside != counts)
        }
        if counted:
            self._changed(
                dict.fromkeys(
                    counted,
                    lambda song, _now: replace(song, beside=counted[song.song_id], beside_source="plays"),
                )
            )

    def _untrained(self, song_ids: Sequence[str]) -> list[str]:
        """Those that some live model has not trained on, each once, no more than are met at once."""
        models = [live.model for live in self._live.all()]

        def is_new(song_id: str) -> bool:
            rows = [(model, model.row(song_id)) for model in models]
            return any(row is None or model.is_provisional(row) for model, row in rows)

        return [song_id for song_id in dict.fromkeys(song_ids) if is_new(song_id)][:MET_AT_ONCE]

    def _changed(self, changes: Mapping[str, Change]) -> list[CatalogueSong]:
        if not 1 <= len(changes) <= MAX_SONGS_PER_BATCH:
            raise InvalidRequest(
                f"A batch has between 1 and {MAX_SONGS_PER_BATCH} songs, not {len(changes)}.", pointer="/songs"
            )
        with self._units() as unit:
            first = unit.catalogue.advance(len(changes))
            now = unit.now()
            stored = unit.catalogue.having(list(changes))
            changed = []
            for revision, (song_id, change) in enumerate(changes.items(), start=first):
                before = stored.get(song_id, CatalogueSong(song_id=song_id, revision=revision, updated_at=now))
                changed.append(replace(change(before, now), revision=revision, updated_at=now))
            unit.catalogue.save(changed)
            unit.commit()
        self._poke()
        return changed


def _beside(unit: UnitOfWork, song_id: str) -> dict[str, int]:
    return unit.catalogue.played_beside(song_id, gap_ms=SESSION_GAP_MS, n_plays=PLAYS_LOOKED_AT, limit=MAX_BESIDE)
