"""Every way Segue says no.

    SegueError
    ├── InvalidRequest        the request itself is wrong: a field, what it got, what is allowed
    │   ├── InvalidSource     an uploaded or configured file cannot be read as plays or songs
    │   ├── NoKnownSongs      the model knows none of the songs to go by
    │   └── MixCancelsOut     the songs to go towards and away from leave no direction
    ├── NotFound              nothing has that identity
    │   └── UnknownSong       the model that was asked does not know the song
    ├── Conflict              the state forbids it
    │   ├── LostLease         a worker reports on something it no longer holds
    │   ├── BudgetSpent       a study has no room for so many further trials
    │   ├── NoVectors         what would be served was never trained here
    │   ├── GatesRefused      a model does not show what its alias asks of it
    │   ├── ModelNotLive      a model was asked that no alias points to
    │   ├── StaleGeneration   an alias moved since it was read
    │   ├── StaleVersion      a study or an experiment was changed since it was read
    │   ├── LayerFull         a layer has not so many users left for one more experiment
    │   └── KeyReused         an idempotency key came back with another request
    ├── TooLarge              an upload exceeds the limit
    ├── NothingLive           no model is live under that alias
    ├── Unavailable           the database cannot be reached
    ├── StorageFull           no space is left for files
    ├── DamagedArtifact       stored files are not what their manifest says
    └── Infeasible            this point of a search space can never work

A leaf's `code` is stable and public; its facts travel as attributes.
"""

from collections.abc import Sequence
from typing import ClassVar

from app.domain.gates import GateReport, GateState


class SegueError(Exception):
    """The root; `str(error)` is a sentence for the user."""

    code: ClassVar[str] = "error"


class InvalidRequest(SegueError):
    """A field of the request is wrong.

    `pointer` is a JSON pointer into the body (`/preparation/min_length`) or a parameter's name.
    """

    code = "invalid_request"

    def __init__(self, message: str, *, pointer: str) -> None:
        super().__init__(message)
        self.pointer = pointer


class InvalidSource(InvalidRequest):
    """A file of plays or songs is refused as a whole."""

    code = "invalid_source"


class NoKnownSongs(InvalidRequest):
    """The model knows none of the songs that were given to go by."""

    code = "no_known_songs"


class MixCancelsOut(InvalidRequest):
    """The songs to go towards and those to go away from leave no direction."""

    code = "mix_cancels_out"


class NotFound(SegueError):
    """Nothing of this kind has this identity."""

    code = "not_found"

    def __init__(self, kind: str, identity: str) -> None:
        super().__init__(f"There is no {kind} {identity!r}.")
        self.kind = kind
        self.identity = identity


class UnknownSong(NotFound):
    """The model does not know the song."""

    def __init__(self, song_id: str, *, model_id: str) -> None:
        super().__init__("song", song_id)
        self.args = (f"Model {model_id!r} knows no song {song_id!r}.",)
        self.model_id = model_id


class Conflict(SegueError):
    """The resource's state forbids the request."""

    code = "conflict"


class LostLease(Conflict):
    """The lease lapsed or the resource left the running state; the report is refused."""

    code = "lost_lease"


class BudgetSpent(Conflict):
    """The study's trials are all given out, or fewer are left than were asked for."""

    code = "budget_spent"


class NoVectors(Conflict):
    """The winner was trained outside Segue, so its vectors are not here to be served."""

    code = "no_vectors"


class GatesRefused(Conflict):
    """A gate refuses to move the alias; `reports` are the tables."""

    code = "gates_refused"

    def __init__(self, alias: str, reports: Sequence[GateReport]) -> None:
        reasons = [gate.reason or "" for report in reports for gate in report.gates if gate.state is GateState.FAILED]
        told = " ".join(reasons) or "A gate that is required cannot be computed."
        super().__init__(f"Alias {alias!r} is not moved. {told} Give an override_reason to move it all the same.")
        self.reports = tuple(reports)


class ModelNotLive(Conflict):
    """The model is live under no alias, so this server has not loaded it."""

    code = "model_not_live"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"Model {model_id!r} is live under no alias.")
        self.model_id = model_id


class StaleGeneration(Conflict):
    """`If-Match` named a generation that is no longer the alias's."""

    code = "stale_generation"

    def __init__(self, *, alias: str, expected: int, actual: int) -> None:
        super().__init__(f"Alias {alias!r} is at generation {actual}, not {expected}: read it again.")
        self.expected = expected
        self.actual = actual


class StaleVersion(Conflict):
    """`If-Match` named a version that is no longer that of the study or the experiment."""

    code = "stale_version"

    def __init__(self, *, identity: str, expected: int, actual: int, kind: str = "study") -> None:
        super().__init__(f"{kind.capitalize()} {identity!r} is at version {actual}, not {expected}: read it again.")
        self.expected = expected
        self.actual = actual


class LayerFull(Conflict):
    """The layer's other experiments leave fewer users than were asked for; both are shares of all users."""

    code = "layer_full"

    def __init__(self, *, wanted: float, free: float) -> None:
        super().__init__(f"Only {free:.2%} of the users are free in this layer, not {wanted:.2%}.")
        self.wanted = wanted
        self.free = free


class KeyReused(Conflict):
    """The idempotency key belongs to another request."""

    code = "idempotency_key_reused"


class TooLarge(SegueError):
    """An upload has more bytes than the service takes."""

    code = "too_large"

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(f"The file is larger than the limit of {limit_bytes} bytes.")
        self.limit_bytes = limit_bytes


class NothingLive(SegueError):
    """No model is loaded under the alias."""

    code = "nothing_live"

    def __init__(self, alias: str) -> None:
        super().__init__(f"No model is live under alias {alias!r}.")
        self.alias = alias


class Unavailable(SegueError):
    """The database cannot be reached; nothing was changed, and trying again may work."""

    code = "unavailable"


class StorageFull(SegueError):
    """No space is left where files are kept; nothing half-written remains."""

    code = "storage_full"


class DamagedArtifact(SegueError):
    """Stored files are missing, cut short or altered."""

    code = "damaged_artifact"


class Infeasible(SegueError):
    """This point never works (empty vocabulary, diverged): it is not tried again."""

    code = "infeasible"
