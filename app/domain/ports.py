"""What the core needs from the world, as protocols. Implementations live in `app.adapters`."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Embeddings, Rows
from app.domain.lease import Lease
from app.domain.listening import Corpus
from app.domain.models import StoredFile
from app.domain.plays import RecentPlays
from app.domain.training import TrainingParameters, TrainingProgress
from app.domain.tuning.suggester import Observation


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        ...


class Ids(Protocol):
    """New identities."""

    def new(self, prefix: str) -> str:
        """A new opaque id `prefix_…`; later ids sort after earlier ones."""
        ...


class Signals(Protocol):
    """Wake-ups for idle workers: quicker than polling, never needed for correctness."""

    def wake(self) -> None:
        """Tell waiting workers that there may be work. Never raises when the broker is away."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Return when woken or after the timeout, whichever is first."""
        ...

    def close(self) -> None:
        """Let go of whatever it is connected to."""
        ...


class HistoryCache(Protocol):
    """A cache of users' newest plays that servers share; see `app.domain.listeners` for when it may be used.

    What is cached under one epoch is not found under another. It may lose anything at any time. It answers at once or
    says that it cannot: no method raises, and none takes longer than some tens of milliseconds.
    """

    @property
    def n_kept(self) -> int:
        """How many plays of a user are kept."""
        ...

    def find(self, user_id: str, *, epoch: int) -> RecentPlays | str | None:
        """The plays; or a ticket to `fill` in what is missing; or None: away, or others are at it."""
        ...

    def fill(self, user_id: str, plays: RecentPlays, *, epoch: int, ticket: str) -> None:
        """Keep them, unless the user was closed since the ticket was given."""
        ...

    def close(self, user_ids: Collection[str], *, epoch: int) -> bool:
        """Forget the users and let nobody fill them in until `open`; False when that is not certain."""
        ...

    def open(self, user_ids: Collection[str], *, epoch: int) -> bool:
        """Forget the users, and end what `close` began; False when that is not certain."""
        ...

    def stop(self) -> None:
        """Let go of whatever it is connected to."""
        ...


class FollowedListeners(Protocol):
    """What a server follows of users: who is to be forgotten, and whether histories may be cached."""

    def erased_at_ms(self, user_id: str) -> int | None:
        """When the user was erased; None when not. Raises: Unavailable when that was never learnt."""
        ...

    def permit(self) -> int | None:
        """The epoch under which histories are cached now; None when they may not be, or that is not known."""
        ...

    def last_epoch(self) -> int | None:
        """The last epoch known: for answers while the database is away, which say that they may be old."""
        ...

    def look(self) -> None:
        """Learn what changed now rather than at the next poll. Raises nothing."""
        ...


class Leasable(Protocol):
    """Something that a worker may hold."""

    @property
    def id(self) -> str:
        """Its identity."""
        ...

    @property
    def lease(self) -> Lease | None:
        """Who holds it."""
        ...


L = TypeVar("L", bound=Leasable)


class LeaseWatch(Protocol):
    """Tells whose lease nobody extends any more; asked again and again by the same looker-on."""

    def unextended(self, read: Callable[[], Sequence[L]]) -> list[L]:
        """Those that `read` gives whose lease has gone without an extension for its whole length."""
        ...


class EmbeddingTrainer(Protocol):
    """Trains Word2Vec on a corpus."""

    def train(
        self,
        corpus: Corpus,
        parameters: TrainingParameters,
        *,
        seed: int,
        threads: int,
        held_out: bool,
        on_progress: Callable[[TrainingProgress], None],
        on_epoch: Callable[[int, Embeddings], None],
    ) -> Embeddings:
        """Embeddings after the last epoch; `on_epoch(n, …)` sees those after epoch n, counted from 1.

        Raises: Infeasible when training sees no song that can be trained on, or the vectors are not finite.
        """
        ...


class NeighbourSearch(Protocol):
    """Exact search by inner product."""

    def search(self, songs: Rows, queries: Rows, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rows of `songs` nearest to each query, best first, and their scores, both `(n_queries, k)`; -1 pads.

        Equal scores go by row, and equal songs score the same. Neither matrix is built. Raises: ValueError when a
        vector is not finite.
        """
        ...


class Suggester(Protocol):
    """Proposes the next point of a study; holds no state between calls."""

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        """The point for trial `number`, given all earlier trials in the order of their numbers."""
        ...

    def expected_improvement(
        self, observations: Sequence[Observation], suggested: TrainingParameters, *, number: int
    ) -> float | None:
        """The largest improvement on the best value measured that is expected of any point, in the objective's units.

        `suggested` is what `suggest` gave for the same arguments, and counts among the points that are looked at. None
        while nothing is expected, because points are still drawn at random.
        """
        ...


class ArtifactStore(Protocol):
    """Immutable folders of files, each with a manifest; files first, their row last."""

    def stage(self) -> AbstractContextManager[Path]:
        """A new empty folder beside the store, removed with its content on leaving unless published."""
        ...

    def publish(self, staged: Path, kind: str, identity: str) -> tuple[StoredFile, ...]:
        """Write the manifest, flush to disk and move the folder to its final name; gives the manifest's files.

        Names are never used twice. When `staged` is gone and the name is there, it was published before (a report is
        repeated after the database was away): gives its files again. Raises: StorageFull.
        """
        ...

    def open(self, kind: str, identity: str) -> Path:
        """The folder, once its files are what the manifest says. Raises: DamagedArtifact."""
        ...

    def remove(self, kind: str, identity: str) -> None:
        """Remove the folder if it is there."""
        ...

    def untouched(self, kind: str, *, for_s: float) -> list[str]:
        """The identities of the kind's folders that nobody has written to for so many seconds."""
        ...

    def receive(self, chunks: Iterable[bytes], identity: str, *, limit_bytes: int) -> tuple[Path, int, str]:
        """Store an upload's bytes; gives path, size and SHA-256. Raises: TooLarge, StorageFull."""
        ...

    def upload_path(self, identity: str) -> Path:
        """Where an upload's bytes are. Raises: DamagedArtifact when they are gone."""
        ...

    def remove_upload(self, identity: str) -> None:
        """Remove an upload's bytes if they are there."""
        ...
