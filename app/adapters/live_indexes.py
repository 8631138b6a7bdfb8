"""The models that serve: each alias is followed, and what it names is loaded aside, checked and swapped in.

    look ──► targets ──► verify files ──► load ──► warm up ──► swap one reference
      ▲                       └───────────────┴─────────┴──► keep the old one, say why, try again later
      └── every poll_s, or when poked

Models that are live take their tables of neighbours up afterwards, in the same way (`table_uptake`).
A request takes one reference and keeps it to its end, so a swap fails none. The models that an alias has left last stay
loaded as long as they have few songs, so that going back takes no longer than their files take to be verified; others
are freed with the last request. While the database is away, what is loaded serves on.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from app.adapters.clock import SystemClock
from app.adapters.table_uptake import TableUptake
from app.domain.catalogue import Overlays
from app.domain.errors import ModelNotLive, NothingLive, SegueError
from app.domain.models import Alias
from app.domain.ports import ArtifactStore, Clock
from app.domain.serving import AliasStatus, AliasTarget, Live, LiveModel, ServingStatus

KIND = "models"
"""The artifact store's name for model files."""

LONGEST_PAUSE_S = 60.0
"""How long a model that could not be loaded is left alone at most; the pause doubles from one poll."""

STOP_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a target could not be loaded, how often it was tried, and when it is tried again (monotonic seconds)."""

    target: AliasTarget
    reason: str
    n_attempts: int
    retry_at: float


class LiveIndexes:
    """The port `LiveModels`; see the module header. Left models of up to `kept_up_to` songs stay loaded."""

    def __init__(
        self,
        *,
        targets: Callable[[], Sequence[AliasTarget]],
        store: ArtifactStore,
        load: Callable[[Path, str], LiveModel],
        overlays: Overlays | None = None,
        tables: Callable[[Collection[str]], Mapping[str, str]] = lambda _: {},
        take_table: Callable[[LiveModel, Path], LiveModel] = lambda model, _: model,
        kept_up_to: int = 0,
        poll_s: float = 1.0,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._targets = targets
        self._store = store
        self._load = load
        self._overlays = overlays
        self._as_loaded: dict[str, dict[str, LiveModel]] = {}
        self._left: dict[str, dict[str, LiveModel]] = {}
        self._kept_up_to = kept_up_to
        self._poll_s = poll_s
        self._clock = SystemClock() if clock is None else clock
        self._monotonic = monotonic
        self._live: dict[str, Live] = {}
        self._loaded_at: dict[str, datetime] = {}
        self._failures: dict[str, _Failure] = {}
        self._wanted: list[AliasTarget] = []
        self._looked_at: datetime | None = None
        self._lookup_error: str | None = None
        self._uptake = TableUptake(ready=tables, store=store, take=take_table, monotonic=monotonic)
        self._looking = threading.Lock()
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def get(self, alias: str) -> Live:
        """What is live under the alias. Raises: NothingLive."""
        live = self._live.get(alias)
        if live is None:
            raise NothingLive(alias)
        return live

    def of_model(self, model_id: str) -> Live:
        """A model that is live under some alias, the first by name. Raises: ModelNotLive."""
        for live in self.all():
            if live.model.model_id == model_id:
                return live
        raise ModelNotLive(model_id)

    def all(self) -> list[Live]:
        """Everything that is live, by alias."""
        return [live for _, live in sorted(self._live.copy().items())]

    def start(self) -> None:
        """Follow the aliases in a thread of its own, from now on."""
        if self._thread is not None:
            msg = "The aliases are followed already."
            raise RuntimeError(msg)
        self._is_stopping = False
        self._thread = threading.Thread(target=self._follow, name="live-indexes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow them no longer; what is live stays so."""
        if self._thread is None:
            return
        self._is_stopping = True
        self._wake.set()
        self._thread.join(STOP_TIMEOUT_S)
        self._thread = None

    def poke(self) -> None:
        """Look now rather than at the next poll; returns at once."""
        self._wake.set()

    def look(self) -> None:
        """Read where the aliases point, and load what is not live yet. Raises nothing: `status` tells."""
        with self._looking:
            try:
                self._lay_over()  # before anything goes live: a model never answers without the deny list
                targets = list(self._targets())
            except Exception as error:
                self._lookup_failed(error)
                return
            for target in targets:
                self._bring_live(target)
            for alias in self._live.keys() - {target.alias.name for target in targets}:
                del self._live[alias]
                del self._as_loaded[alias]
                self._left.pop(alias, None)
                _log.info("Alias %s is gone: its model serves no longer.", alias)
            self._wanted = targets
            try:
                self._take_tables_up()
            except Exception as error:
                self._lookup_failed(error)
                return
            self._lookup_error = None
            self._looked_at = self._clock.now()

    def status(self) -> ServingStatus:
        """What serves and what does not, for health checks."""
        wanted = self._wanted
        return ServingStatus(
            is_ready=self._looked_at is not None and (bool(self._live) or not wanted),
            aliases=[self._alias_status(target) for target in wanted],
            looked_at=self._looked_at,
            lookup_error=self._lookup_error,
            catalogue=None if self._overlays is None else self._overlays.status(),
        )

    def _follow(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            self.look()
            if not self._is_stopping:
                self._wake.wait(self._poll_s)

    def _lookup_failed(self, error: Exception) -> None:
        reason = _reason(error)
        if reason != self._lookup_error:  # once an outage, not once a poll
            _log.warning("The aliases cannot be read (%s): what is live serves on.", reason)
        self._lookup_error = reason

    def _bring_live(self, target: AliasTarget) -> None:
        alias = target.alias
        live = self._live.get(alias.name)
        if live is not None and (live.generation, live.model.model_id) == (alias.generation, alias.model_id):
            return
        failure = self._failures.get(alias.name)
        if failure is not None and failure.target == target and self._monotonic() < failure.retry_at:
            return
        try:
            models = self._loaded(target)  # all of a bundle before any of them is live
        except Exception as error:
            self._load_failed(target, error, earlier=failure)
            return
        self._leave(alias.name, models)
        self._as_loaded[alias.name] = models
        self._live[alias.name] = self._live_of(alias, models)
        self._loaded_at[alias.name] = self._clock.now()
        self._failures.pop(alias.name, None)
        _log.info("Model %s is live: %s, generation %d.", alias.model_id, alias.name, alias.generation)

    def _leave(self, alias: str, models: Mapping[str, LiveModel]) -> None:
        """Keep those that the alias had and has no longer, if it has changed its models at all."""
        left = {name: model for name, model in self._as_loaded.get(alias, {}).items() if name not in models}
        if left:
            self._left[alias] = {name: model for name, model in left.items() if model.n_songs <= self._kept_up_to}

    def _all_loaded(self) -> dict[str, LiveModel]:
        """By id, the models that are live and those that were left."""
        groups = [*self._left.values(), *self._as_loaded.values()]
        return {model_id: model for models in groups for model_id, model in models.items()}

    def _lay_over(self) -> None:
        """Swap each model for itself as the catalogue has its songs now, if that has changed. Raises: Unavailable."""
        if self._overlays is None or not self._overlays.look():
            return
        laid: dict[str, LiveModel] = {}
        for alias, live in self._live.items():
            for model_id, model in self._as_loaded[alias].items():
                if model_id not in laid:
                    laid[model_id] = self._overlays.over(model)
            segments = {segment: laid[one.model_id] for segment, one in live.segments.items()}
            self._live[alias] = replace(live, model=laid[live.model.model_id], segments=segments)

    def _over(self, model: LiveModel) -> LiveModel:
        return model if self._overlays is None else self._overlays.over(model)

    def _take_tables_up(self) -> None:
        """Exchange live models for the same with their tables."""
        tabled = self._uptake.tabled(list(self._all_loaded().values()))
        self._left = {
            alias: {model_id: tabled.get(model_id, model) for model_id, model in models.items()}
            for alias, models in self._left.items()
        }
        for alias, models in list(self._as_loaded.items()):
            taken = {model_id: tabled.get(model_id, model) for model_id, model in models.items()}
            if any(taken[model_id] is not models[model_id] for model_id in models):
                self._as_loaded[alias] = taken
                live = self._live[alias]
                self._live[alias] = replace(
                    live,
                    model=self._over(taken[live.model.model_id]),
                    segments={name: self._over(taken[one.model_id]) for name, one in live.segments.items()},
                )

    def _live_of(self, alias: Alias, models: dict[str, LiveModel]) -> Live:
        """The alias's models as the catalogue has their songs now."""
        over = {model_id: self._over(model) for model_id, model in models.items()}
        segments = {segment: over[model_id] for segment, model_id in alias.segments.items()}
        return Live(alias.name, alias.generation, over[alias.model_id], segments)

    def _loaded(self, target: AliasTarget) -> dict[str, LiveModel]:
        """Every model of the alias by its id, those that are live under any alias or generation as they are."""
        live = {model_id: model for models in self._as_loaded.values() for model_id, model in models.items()}
        return {
            model_id: live.get(model_id) or self._brought_back(target, model_id)
            for model_id in target.alias.bundle.models()
        }

    def _brought_back(self, target: AliasTarget, model_id: str) -> LiveModel:
        """A model from its files, verified also where it is still loaded: what it maps may have been damaged."""
        try:
            folder = self._store.open(KIND, target.files_of(model_id))
        except Exception:
            for models in self._left.values():
                models.pop(model_id, None)  # its files may be mended by others in their place
            raise
        left = self._all_loaded().get(model_id)
        return self._load(folder, model_id) if left is None or not self._uptake.is_sound(model_id) else left

    def _load_failed(self, target: AliasTarget, error: Exception, *, earlier: _Failure | None) -> None:
        n_attempts = 1 if earlier is None or earlier.target != target else earlier.n_attempts + 1
        pause_s = min(self._poll_s * 2.0 ** min(n_attempts, 30), LONGEST_PAUSE_S)
        self._failures[target.alias.name] = _Failure(target, _reason(error), n_attempts, self._monotonic() + pause_s)
        _log.error(
            "Model %s of alias %s cannot be loaded: another try in %.0f s.",
            target.alias.model_id,
            target.alias.name,
            pause_s,
            exc_info=error,
        )

    def _alias_status(self, target: AliasTarget) -> AliasStatus:
        alias = target.alias
        live = self._live.get(alias.name)
        failure = self._failures.get(alias.name)
        return AliasStatus(
            alias=alias.name,
            wanted_model_id=alias.model_id,
            wanted_generation=alias.generation,
            live_model_id=None if live is None else live.model.model_id,
            live_generation=None if live is None else live.generation,
            loaded_at=self._loaded_at.get(alias.name),
            error=None if failure is None else failure.reason,
            has_table=live is not None and self._uptake.has_table(live.model.model_id),
            neighbours_error=None if live is None else self._uptake.refusal(live.model.model_id),
        )


def _reason(error: Exception) -> str:
    """Our own errors in their words; of others the kind alone, for their words may name paths or secrets."""
    return str(error) if isinstance(error, SegueError) else type(error).__name__
