"""The catalogue as one server follows it: all of it in memory, kept up with by revision.

A look costs one indexed read. While the database is away the last that was read goes on, and `status` tells its age.
"""

from collections.abc import Callable, Sequence

from app.domain.catalogue import CatalogueSong
from app.domain.ports import Clock
from app.domain.serving import CatalogueStatus, LiveModel


class LiveCatalogue:
    """The port `Overlays`. One thread looks; any may ask for the status."""

    def __init__(self, changes: Callable[[int], Sequence[CatalogueSong]], *, clock: Clock) -> None:
        self._changes = changes
        self._clock = clock
        self._songs: dict[str, CatalogueSong] = {}
        self._status = CatalogueStatus(revision=0, n_denied=0, n_provisional=0, read_at=None)

    def look(self) -> bool:
        """Read what changed; whether anything did. Raises: Unavailable."""
        revision = self._status.revision
        while changed := self._changes(revision):
            for song in changed:
                self._songs[song.song_id] = song
                if song.is_empty:
                    del self._songs[song.song_id]
            revision = changed[-1].revision
        is_changed = revision != self._status.revision
        self._status = CatalogueStatus(
            revision=revision,
            n_denied=sum(song.denial is not None for song in self._songs.values())
            if is_changed
            else self._status.n_denied,
            n_provisional=sum(song.beside is not None for song in self._songs.values())
            if is_changed
            else self._status.n_provisional,
            read_at=self._clock.now(),
        )
        return is_changed

    def over(self, model: LiveModel) -> LiveModel:
        """The model as the catalogue has its songs now; the model itself when nothing touches them."""
        from app.adapters.laid_over import LaidOverModel  # noqa: PLC0415 - Arrow is loaded by who serves

        laid = LaidOverModel(model, list(self._songs.values()))
        return laid if laid.is_touched else model

    def status(self) -> CatalogueStatus:
        """How far it was followed."""
        return self._status
