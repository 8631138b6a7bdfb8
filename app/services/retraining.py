"""Retraining: see `app.domain.retraining` for the steps.

Each step is one unit of work that locks the retraining, makes what comes next (a dataset, a study, a model) and notes
it: it happens once, whoever dies in it, and any worker takes the next. What takes long is done by the workers that
prepare datasets, run trials and build models, under their own leases. Gathering alone is done here, before its unit of
work: two workers may both do it, and one of the files is thrown away.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from app.domain.datasets import Dataset, DatasetState, SourceReference, Upload
from app.domain.errors import Conflict, InvalidRequest, InvalidSource, NotFound, SegueError
from app.domain.lease import Failure
from app.domain.models import Fit, Model, ModelState
from app.domain.plays import Play
from app.domain.ports import Ids, Signals
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.retraining import RETRAINING_MOVES, Retraining, RetrainingSpec, RetrainingState
from app.domain.training import fitted_by
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import Study, StudySpec, StudyState
from app.domain.tuning.trial import Method, Origin, Trial, TrialRole, TrialState
from app.services.datasets import DatasetService
from app.services.idempotency import Idempotency, Replay, once
from app.services.models import ModelService, Wanted
from app.services.paging import Page, page_of
from app.services.studies import StudyService

MAX_NAME_LENGTH = 200

NO_LIMIT = 2**63

ENDED_BADLY = frozenset({StudyState.FAILED, StudyState.CANCELLED})

Gather = Callable[[Path, Iterator[list[Play]], Path, Mapping[str, int]], int | None]
"""Writes the plays of a file, but for those of erased users, and those sent to another file; how many were sent, None
where they cannot be joined."""

LatestTick = Callable[[str, datetime], datetime]
"""The last instant, up to one, at which a cron expression asks for something."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetrainingFacts:
    """A retraining and the model that it made, once it did."""

    retraining: Retraining
    model: Model | None


class RetrainingService:
    """Retrainings. `schedule` holds a cron expression by alias, in UTC."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        ids: Ids,
        signals: Signals,
        datasets: DatasetService,
        studies: StudyService,
        models: ModelService,
        gather: Gather | None,
        schedule: Mapping[str, str],
        latest_tick: LatestTick,
    ) -> None:
        self._units = units
        self._ids = ids
        self._signals = signals
        self._datasets = datasets
        self._studies = studies
        self._models = models
        self._gather = gather
        self._schedule = dict(schedule)
        self._latest_tick = latest_tick

    # What clients ask for

    def request(
        self,
        *,
        alias: str | None,
        model_id: str | None,
        spec: RetrainingSpec,
        idempotency: Idempotency[RetrainingFacts] | None = None,
    ) -> RetrainingFacts | Replay:
        """Train the alias's model, or the one named, anew; it goes live under the alias if its gates let it.

        Raises: InvalidRequest, Conflict when the model is not ready, or the alias is being retrained.
        """
        with self._units() as unit:

            def create() -> RetrainingFacts:
                source = _source(unit, alias=alias, model_id=model_id)
                self._check(unit, alias, spec)
                retraining = self._new(unit, source, alias=alias, spec=spec)
                unit.retrainings.add(retraining)
                return RetrainingFacts(retraining, None)

            found = once(unit, idempotency, create)
            unit.commit()
        self._signals.wake()
        return found

    def _check(self, unit: UnitOfWork, alias: str | None, spec: RetrainingSpec) -> None:
        busy = [each.id for each in unit.retrainings.under_way() if alias is not None and each.alias == alias]
        if busy:
            raise Conflict(f"Alias {alias!r} is being retrained: {busy[0]!r} has not ended.")
        if spec.dataset_id is not None:
            try:
                unit.datasets.get(spec.dataset_id)
            except NotFound as error:
                raise InvalidRequest(str(error), pointer="/dataset_id") from error

    def _new(
        self,
        unit: UnitOfWork,
        source: Model,
        *,
        alias: str | None,
        spec: RetrainingSpec,
        tick_at: datetime | None = None,
    ) -> Retraining:
        return Retraining(
            id=self._ids.new("rtr"),
            spec=spec,
            source_model_id=source.id,
            state=RetrainingState.GATHERING if spec.dataset_id is None else RetrainingState.PREPARING,
            created_at=unit.now(),
            alias=alias,
            tick_at=tick_at,
            dataset_id=spec.dataset_id,
        )

    def get(self, retraining_id: str) -> RetrainingFacts:
        """A retraining. Raises: NotFound."""
        with self._units.reading() as unit:
            return _facts(unit, unit.retrainings.get(retraining_id))

    def list(self, *, limit: int, cursor: str | None = None) -> Page[RetrainingFacts]:
        """Retrainings, newest first."""
        with self._units.reading() as unit:
            rows = unit.retrainings.page(limit=limit + 1, cursor=cursor)
            facts = [_facts(unit, row) for row in rows]
        return page_of(facts, limit=limit, cursor=lambda each: each.retraining.id)

    # What workers do, now and then

    def advance(self) -> int:
        """Ask for what the schedule does, and take every retraining one step further; how many steps were taken."""
        n_steps = sum(self._tick(alias, expression) for alias, expression in self._schedule.items())
        with self._units.reading() as unit:
            under_way = unit.retrainings.under_way()
        n_steps += sum(self._step(each) for each in under_way)
        if n_steps:
            self._signals.wake()
        return n_steps

    def _tick(self, alias: str, expression: str) -> bool:
        """Begin one if an instant of the schedule has come since the last; those missed meanwhile are one."""
        with self._units() as unit:
            live = unit.aliases.find(alias)
            if live is None:
                return False
            last = unit.retrainings.latest_of(alias)
            source = unit.models.get(live.model_id)
            since = source.created_at if last is None else max(last.created_at, source.created_at)
            tick_at = self._latest_tick(expression, unit.now())
            if tick_at <= since or (last is not None and RETRAINING_MOVES[last.state]):
                return False
            spec = RetrainingSpec(gates=self._models.default_gates)
            retraining = self._new(unit, source, alias=alias, spec=spec, tick_at=tick_at)
            is_first = unit.retrainings.add_tick(retraining)
            unit.commit()
        return is_first

    def _step(self, seen: Retraining) -> bool:
        try:
            upload, n_sent = self._gathered(seen) if seen.state is RetrainingState.GATHERING else (None, None)
            with self._units() as unit:
                retraining = unit.retrainings.lock(seen.id)
                if retraining.state is not seen.state:
                    return False
                if upload is not None:
                    retraining = replace(retraining, n_sent_plays=n_sent)
                further = self._further(unit, retraining, upload)
                if further is None:
                    return False
                unit.retrainings.save(further)
                unit.commit()
        except (Conflict, InvalidRequest, NotFound, InvalidSource) as error:
            return self._fail(seen, Failure(code=error.code, reason=str(error)))
        except SegueError as error:
            _log.warning("Retraining %s waits: %s", seen.id, error)
            return False
        return True

    def _fail(self, seen: Retraining, failure: Failure) -> bool:
        with self._units() as unit:
            retraining = unit.retrainings.lock(seen.id)
            if retraining.state is not seen.state:
                return False
            unit.retrainings.save(_failed(retraining, failure, now=unit.now()))
            unit.commit()
        return True

    def _further(self, unit: UnitOfWork, retraining: Retraining, upload: Upload | None) -> Retraining | None:
        """The retraining one step further; None while it waits."""
        match retraining.state:
            case RetrainingState.GATHERING:
                return self._prepared(unit, retraining, upload)
            case RetrainingState.PREPARING:
                return self._measured(unit, retraining)
            case RetrainingState.MEASURING:
                return self._built(unit, retraining)
            case _:
                return _ended(unit, retraining)

    def _gathered(self, seen: Retraining) -> tuple[Upload | None, int | None]:
        """The plays of the source, read anew, with those sent since it was first made a dataset; none if none came."""
        if self._gather is None:
            msg = "Workers alone gather: they may load what reads plays."
            raise RuntimeError(msg)
        erased = self._datasets.erased()
        with self._units.reading() as unit:
            root = _root(unit, seen)
            source = self._datasets.path(root.spec.plays)
            with TemporaryDirectory(prefix="retraining-") as folder:
                out = Path(folder) / "plays.parquet"
                n_sent = self._gather(source, unit.plays.received_since(root.created_at), out, erased)
                if n_sent is None:
                    return None, None
                upload = self._datasets.receive_upload(_chunks(out), limit_bytes=NO_LIMIT)
        if isinstance(upload, Replay):
            msg = "An upload without a key is never a replay."
            raise TypeError(msg)
        return upload, n_sent

    def _prepared(self, unit: UnitOfWork, retraining: Retraining, upload: Upload | None) -> Retraining:
        spec = _root(unit, retraining).spec
        plays = spec.plays if upload is None else SourceReference(upload_id=upload.id)
        dataset = Dataset(
            id=self._ids.new("dat"),
            spec=replace(spec, name=_named(spec.name, unit.now()), plays=plays),
            state=DatasetState.QUEUED,
            created_at=unit.now(),
        )
        unit.datasets.add(dataset)
        return _moved(replace(retraining, dataset_id=dataset.id), RetrainingState.PREPARING)

    def _measured(self, unit: UnitOfWork, retraining: Retraining) -> Retraining | None:
        dataset = unit.datasets.get(str(retraining.dataset_id))
        if dataset.state is DatasetState.FAILED:
            return _failed(retraining, dataset.failure, now=unit.now())
        if dataset.state is not DatasetState.READY:
            return None
        source = unit.models.get(retraining.source_model_id)
        study = self._studies.added(unit, _spec(unit.studies.get(source.study_id).spec, dataset))
        unit.trials.add(_trial(self._ids.new("trl"), study, source, now=unit.now()))
        return _moved(replace(retraining, study_id=study.id), RetrainingState.MEASURING)

    def _built(self, unit: UnitOfWork, retraining: Retraining) -> Retraining | None:
        study = unit.studies.get(str(retraining.study_id))
        if study.state in ENDED_BADLY:
            failure = study.failure or Failure(code="cancelled", reason=f"Study {study.id!r} was cancelled.")
            return _failed(retraining, failure, now=unit.now())
        if study.state is not StudyState.COMPLETED:
            return None
        source, spec = unit.models.get(retraining.source_model_id), retraining.spec
        alias = retraining.alias if spec.promotes else None
        wanted = Wanted(
            alias=alias,
            fit=Fit.FULL,
            segment=_segment(unit, source, alias),
            gates=spec.gates,
            override_reason=spec.override_reason,
            asked_by=spec.asked_by,
        )
        model = self._models.added(unit, study.id, wanted)
        return _moved(replace(retraining, model_id=model.id), RetrainingState.BUILDING)


def _source(unit: UnitOfWork, *, alias: str | None, model_id: str | None) -> Model:
    """The model whose parameters are trained anew."""
    if alias is None and model_id is None:
        raise InvalidRequest("Give an alias, a model_id or both.", pointer="/alias")
    live = None if alias is None else unit.aliases.find(alias)
    if model_id is None:
        if live is None:
            raise InvalidRequest(f"There is no alias {alias!r}: name a model.", pointer="/alias")
        return unit.models.get(live.model_id)
    try:
        model = unit.models.get(model_id)
    except NotFound as error:
        raise InvalidRequest(str(error), pointer="/model_id") from error
    if model.state is not ModelState.READY:
        raise Conflict(f"Model {model_id!r} is {model.state.value}: only a ready one is retrained.")
    return model


def _root(unit: UnitOfWork, retraining: Retraining) -> Dataset:
    """The dataset that the first of a line of retrained models came from: its source is what is read anew."""
    dataset = unit.datasets.get(unit.models.get(retraining.source_model_id).dataset_id)
    maker = unit.retrainings.of_dataset(dataset.id)
    while maker is not None and maker.spec.dataset_id is None:
        dataset = unit.datasets.get(unit.models.get(maker.source_model_id).dataset_id)
        maker = unit.retrainings.of_dataset(dataset.id)
    return dataset


def _spec(spec: StudySpec, dataset: Dataset) -> StudySpec:
    """A study of one trial on the new dataset, with the objective, trainer and seed of the first."""
    return replace(
        spec,
        name=dataset.spec.name,
        dataset_id=dataset.id,
        algorithm="random",
        n_initial=1,
        n_iterations=0,
        parallelism=1,
        baselines=False,
        replicates=0,
        trainer=fitted_by(spec.trainer),
        stopping=Stopping(),
        pruning=None,
        constraints=(),
        objectives=(),
        warm_start=None,
        segment_of=None,
    )


def _trial(identity: str, study: Study, source: Model, *, now: datetime) -> Trial:
    return Trial(
        id=identity,
        study_id=study.id,
        role=TrialRole.SEARCH,
        number=0,
        name="trial-0",
        method=Method.WORD2VEC,
        parameters=source.parameters,
        state=TrialState.WAITING,
        created_at=now,
        origin=Origin.ENQUEUED,
    )


def _segment(unit: UnitOfWork, source: Model, alias: str | None) -> str | None:
    """The segment that the model answers for under the alias, if it is not the default one's."""
    live = None if alias is None else unit.aliases.find(alias)
    if live is None or live.model_id == source.id:
        return None
    return next((segment for segment, model_id in live.segments.items() if model_id == source.id), None)


def _ended(unit: UnitOfWork, retraining: Retraining) -> Retraining | None:
    model = unit.models.get(str(retraining.model_id))
    if model.state is ModelState.FAILED:
        return _failed(retraining, model.failure, now=unit.now())
    if model.state is not ModelState.READY:
        return None
    return replace(_moved(retraining, RetrainingState.ENDED), finished_at=unit.now())


def _moved(retraining: Retraining, state: RetrainingState) -> Retraining:
    if state not in RETRAINING_MOVES[retraining.state]:
        raise Conflict(f"Retraining {retraining.id!r} is {retraining.state.value} and cannot become {state.value}.")
    return replace(retraining, state=state)


def _failed(retraining: Retraining, failure: Failure | None, *, now: datetime) -> Retraining:
    why = failure or Failure(code="failed", reason="It is not known why.")
    return replace(_moved(retraining, RetrainingState.FAILED), failure=why, finished_at=now)


def _facts(unit: UnitOfWork, retraining: Retraining) -> RetrainingFacts:
    return RetrainingFacts(retraining, None if retraining.model_id is None else unit.models.get(retraining.model_id))


def _named(name: str, now: datetime) -> str:
    when = f", anew {now:%Y-%m-%d %H:%M}"
    return name.partition(", anew ")[0][: MAX_NAME_LENGTH - len(when)] + when


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
