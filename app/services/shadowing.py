"""Shadows: a challenger answers some of the requests of a live alias again, off the way of the answer.

    request ──► answer ──► out                 one look-up; for a share of them, two clock readings
                  └──► queue (bounded) ──► one thread: the challenger answers, both are compared, sums are kept
                                                └──► every few seconds, its server's sums are written to SQL

A full queue drops, and counts it; what the challenger cannot answer is counted too. Nothing here can fail a request.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from app.domain.errors import Conflict, InvalidRequest, NotFound, SegueError
from app.domain.models import Alias, ModelState
from app.domain.ports import Ids
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import AliasTarget
from app.domain.shadowing import N_BUCKETS, Shadow, Tally, bucket, overlap
from app.services.leasing import artifact_name

A = TypeVar("A")

SUFFIX = "@shadow"
"""What the challenger of an alias is live under: no client's alias can hold it."""

CAPACITY = 1_000
FLUSH_EVERY_S = 5.0
STOP_TIMEOUT_S = 5.0
TURN_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowReport:
    """A shadow and what all servers have seen of it; `updated_at` is when one last told."""

    shadow: Shadow
    tally: Tally
    n_servers: int
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that was answered in so many seconds, and how to ask it again."""

    shadow: Shadow
    ask: Callable[[str], Any]
    answer: Any
    songs: Callable[[Any], Collection[str]]
    seconds: float


class _Sums:
    """What one server has seen of one shadow. Only the comparing thread and, for drops, requests change it."""

    def __init__(self) -> None:
        self.n = 0
        self.n_errors = 0
        self.n_dropped = 0
        self.overlap = 0.0
        self.live = [0] * N_BUCKETS
        self.challenger = [0] * N_BUCKETS

    def tally(self) -> Tally:
        return Tally(
            n=self.n,
            n_errors=self.n_errors,
            n_dropped=self.n_dropped,
            overlap=self.overlap,
            live=tuple(self.live),
            challenger=tuple(self.challenger),
        )


class ShadowService:
    """Shadows of aliases, and this server's part in them; `sample` draws from [0, 1)."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        ids: Ids,
        sample: Callable[[], float],
        seconds: Callable[[], float] = time.perf_counter,
        capacity: int = CAPACITY,
        flush_every_s: float = FLUSH_EVERY_S,
    ) -> None:
        self._units = units
        self._ids = ids
        self._sample = sample
        self._seconds = seconds
        self._flush_every_s = flush_every_s
        self._server_id = ids.new("srv")
        self._shadows: dict[str, Shadow] = {}
        self._sums: dict[str, _Sums] = {}
        self._lock = threading.Lock()
        self._requests: queue.Queue[_Request] = queue.Queue(capacity)
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # What operators ask for

    def put(self, alias: str, *, model_id: str | None, challenger: str | None, share: float) -> Shadow:
        """Have a model, or what another alias names, shadow the alias; sums begin anew.

        Raises: NotFound, InvalidRequest, Conflict when the model is not ready.
        """
        if (model_id is None) == (challenger is None):
            raise InvalidRequest("Give either model_id or alias.", pointer="/model_id")
        if not 0 <= share <= 1:
            raise InvalidRequest(f"share must be between 0 and 1, not {share}.", pointer="/share")
        with self._units() as unit:
            _demand_alias(unit, alias)
            if model_id is not None:
                _demand_model(unit, model_id)
            elif challenger == alias or unit.aliases.find(str(challenger)) is None:
                raise InvalidRequest(f"There is no other alias {challenger!r}.", pointer="/alias")
            shadow = Shadow(
                id=self._ids.new("shd"),
                alias=alias,
                share=share,
                created_at=unit.now(),
                challenger_alias=challenger,
                challenger_model_id=model_id,
            )
            unit.shadows.put(shadow)
            unit.commit()
        return shadow

    def report(self, alias: str) -> ShadowReport:
        """What was seen so far. Raises: NotFound."""
        with self._units.reading() as unit:
            shadow = unit.shadows.find(alias)
            if shadow is None:
                raise NotFound("shadow of alias", alias)
            told = unit.shadows.tallies(shadow.id)
        total = Tally()
        for tally, _ in told:
            total += tally
        return ShadowReport(
            shadow=shadow, tally=total, n_servers=len(told), updated_at=max((at for _, at in told), default=None)
        )

    def remove(self, alias: str) -> None:
        """Shadow it no longer; what was seen is forgotten. Raises: NotFound."""
        with self._units() as unit:
            if not unit.shadows.remove(alias):
                raise NotFound("shadow of alias", alias)
            unit.commit()

    # What a server does

    def targets(self) -> Sequence[AliasTarget]:
        """The challengers, for the server that follows aliases; from now on it shadows what they challenge."""
        with self._units.reading() as unit:
            shadows = unit.shadows.all()
            targets = [_target(unit, shadow) for shadow in shadows]
        self._shadows = {shadow.alias: shadow for shadow in shadows}
        return targets

    def answered(self, alias: str, ask: Callable[[str], A], songs: Callable[[A], Collection[str]]) -> A:
        """The answer of the alias; for a share of the requests, `ask` is called again later with the challenger's.

        `songs` reads the ids of an answer. Raises: what `ask` raises.
        """
        shadow = self._shadows.get(alias)
        if shadow is None or self._sample() >= shadow.share:
            return ask(alias)
        began = self._seconds()
        answer = ask(alias)
        request = _Request(shadow, ask, answer, songs, self._seconds() - began)
        try:
            self._requests.put_nowait(request)
        except queue.Full:
            with self._lock:
                self._sums_of(shadow.id).n_dropped += 1
        return answer

    def start(self) -> None:
        """Compare in a thread of its own, from now on."""
        self._is_stopping.clear()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether no request waits to be compared."""
        return self._requests.empty()

    def stop(self) -> None:
        """Compare no longer, and tell what was seen."""
        if self._thread is None:
            return
        self._is_stopping.set()
        self._thread.join(STOP_TIMEOUT_S)
        self._thread = None

    def _run(self) -> None:
        flush_at = self._seconds() + self._flush_every_s
        while not self._is_stopping.is_set():
            with suppress(queue.Empty):
                self.compare_next(timeout_s=min(TURN_S, self._flush_every_s))
            if self._seconds() >= flush_at:
                self.flush()
                flush_at = self._seconds() + self._flush_every_s
        self.flush()

    def compare_next(self, *, timeout_s: float) -> None:
        """Have the challenger answer the next request. Raises: queue.Empty."""
        request = self._requests.get(timeout=timeout_s)
        began = self._seconds()
        try:
            answer = request.ask(request.shadow.alias + SUFFIX)
            seconds = self._seconds() - began
            shared = overlap(request.songs(request.answer), request.songs(answer))
        except Exception as error:  # whatever a challenger does, it is an error of the challenger's
            _log.debug("The challenger of alias %s did not answer.", request.shadow.alias, exc_info=error)
            with self._lock:
                self._sums_of(request.shadow.id).n_errors += 1
            return
        with self._lock:
            sums = self._sums_of(request.shadow.id)
            sums.n += 1
            sums.overlap += shared
            sums.live[bucket(request.seconds)] += 1
            sums.challenger[bucket(seconds)] += 1

    def flush(self) -> None:
        """Write what this server has seen; what a database that is away does not take is told the next time."""
        with self._lock:
            tallies = {shadow_id: sums.tally() for shadow_id, sums in self._sums.items()}
        try:
            with self._units() as unit:
                now = unit.now()
                gone = [
                    shadow_id
                    for shadow_id, tally in tallies.items()
                    if not unit.shadows.tell(shadow_id, server_id=self._server_id, tally=tally, at=now)
                ]
                unit.commit()
        except SegueError as error:
            _log.warning("What shadows showed is not written yet: %s", error)
            return
        with self._lock:
            for shadow_id in gone:
                del self._sums[shadow_id]

    def _sums_of(self, shadow_id: str) -> _Sums:
        return self._sums.setdefault(shadow_id, _Sums())


def _demand_alias(unit: UnitOfWork, alias: str) -> None:
    if unit.aliases.find(alias) is None:
        raise NotFound("alias", alias)


def _demand_model(unit: UnitOfWork, model_id: str) -> None:
    try:
        model = unit.models.get(model_id)
    except NotFound as error:
        raise InvalidRequest(str(error), pointer="/model_id") from error
    if model.state is not ModelState.READY:
        raise Conflict(f"Model {model_id!r} is {model.state.value}: a challenger has to be ready.")


def _target(unit: UnitOfWork, shadow: Shadow) -> AliasTarget:
    """The challenger as if it were live under a name of its own."""
    name = shadow.alias + SUFFIX
    followed = None if shadow.challenger_alias is None else unit.aliases.find(shadow.challenger_alias)
    if followed is not None:
        alias = Alias(
            name=name,
            model_id=followed.model_id,
            generation=followed.generation,
            updated_at=followed.updated_at,
            segments=followed.segments,
        )
    else:
        model_id = str(shadow.challenger_model_id)
        alias = Alias(name=name, model_id=model_id, generation=1, updated_at=shadow.created_at)
    files = {each: artifact_name(each, unit.models.get(each).attempt) for each in alias.bundle.models()}
    return AliasTarget(alias, files[alias.model_id], files)
