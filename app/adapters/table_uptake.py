"""Takes up the tables of neighbours of models that are live: found, verified, loaded aside, one reference exchanged.

A model with its table is the same model, of the same generation, that looks up what it searched before. A table that
cannot be loaded is left alone for a while, and its model answers by search.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.domain.errors import SegueError
from app.domain.ports import ArtifactStore
from app.domain.serving import LiveModel

KIND = "neighbours"
"""The artifact store's name for tables of neighbours."""

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
"""How long a table that could not be loaded is left alone; the pause doubles up to the longest."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a table could not be loaded, how often it was tried, and when it is tried again (monotonic seconds)."""

    table: str
    reason: str
    n_attempts: int
    retry_at: float


class TableUptake:
    """See the module header. `ready` gives the names of ready tables' files by the ids of their models."""

    def __init__(
        self,
        *,
        ready: Callable[[Collection[str]], Mapping[str, str]],
        store: ArtifactStore,
        take: Callable[[LiveModel, Path], LiveModel],
        monotonic: Callable[[], float],
    ) -> None:
        self._ready = ready
        self._store = store
        self._take = take
        self._monotonic = monotonic
        self._taken: dict[str, tuple[str, LiveModel]] = {}
        self._refusals: dict[str, _Refusal] = {}

    def tabled(self, live: Sequence[LiveModel]) -> dict[str, LiveModel]:
        """By model id, the models that are to stand in for those that are live: each with the table that it lacks.

        Raises whatever keeps it from finding which tables there are.
        """
        models = {model.model_id: model for model in live}
        self._taken = {model_id: taken for model_id, taken in self._taken.items() if model_id in models}
        ready = self._ready(models.keys()) if models else {}
        self._refusals = {
            model_id: refusal for model_id, refusal in self._refusals.items() if ready.get(model_id) == refusal.table
        }
        for model_id, table in ready.items():
            taken = self._taken.get(model_id)
            if taken is None or taken[0] != table:
                self._load(models[model_id], table)
        return {model_id: model for model_id, (_, model) in self._taken.items()}

    def has_table(self, model_id: str) -> bool:
        """Whether the model has taken its table up."""
        return model_id in self._taken

    def is_sound(self, model_id: str) -> bool:
        """Whether the files of the table that the model has taken up, if it has, are as they were; else it has none."""
        if model_id in self._taken:
            try:
                self._store.open(KIND, self._taken[model_id][0])
            except Exception:
                _log.exception("The table of model %s is damaged.", model_id)
                del self._taken[model_id]
                return False
        return True

    def refusal(self, model_id: str) -> str | None:
        """Why the model's table is not taken up; None where nothing is wrong with it."""
        refusal = self._refusals.get(model_id)
        return None if refusal is None else refusal.reason

    def _load(self, model: LiveModel, table: str) -> None:
        earlier = self._refusals.get(model.model_id)
        if earlier is not None and self._monotonic() < earlier.retry_at:
            return
        try:
            tabled = self._take(model, self._store.open(KIND, table))
        except Exception as error:
            n_attempts = 1 if earlier is None else earlier.n_attempts + 1
            pause_s = min(FIRST_PAUSE_S * 2.0 ** min(n_attempts - 1, 30), LONGEST_PAUSE_S)
            # Our own errors in their words; of others the kind alone, for their words may name paths.
            reason = str(error) if isinstance(error, SegueError) else type(error).__name__
            self._refusals[model.model_id] = _Refusal(table, reason, n_attempts, self._monotonic() + pause_s)
            _log.exception("The table of model %s is refused: another try in %.0f s.", model.model_id, pause_s)
            return
        self._refusals.pop(model.model_id, None)
        self._taken[model.model_id] = (table, tabled)
        _log.info("Model %s looks its neighbours up.", model.model_id)
