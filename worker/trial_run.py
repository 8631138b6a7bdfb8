"""One trial, in its child: load the corpus, train, measure, write the vectors.

Points are compared with one training seed, the study's: what differs between two trials is the point.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import assert_never

from app.adapters import best_scores  # noqa: F401 # a runner compiles it before it forks, not each child
from app.adapters.corpus import read_corpus
from app.adapters.exact_search import ExactNeighbourSearch
from app.adapters.ranks import PairSet, write_ranks
from app.adapters.vectors import read_vectors, vectors_sha256, write_vectors
from app.domain import plain_baselines
from app.domain.embedding import Embeddings, scoring_rows, served_bytes
from app.domain.evaluating import answerable_queries, evaluate, evaluate_lists
from app.domain.lease import HeartbeatAnswer, Progress
from app.domain.listening import Corpus, Pairs
from app.domain.measurement import EpochMeasurement, Measurement
from app.domain.pairing import PairRanks
from app.domain.sampling import sampled
from app.domain.training import TrainingParameters, TrainingProgress
from app.domain.tuning.aggregating import aggregated
from app.domain.tuning.trial import Method, TrialOutcome, TrialRole
from worker.machine import cpu_kind
from worker.messages import Show, Tell, TrialMeasured, TrialRequest
from worker.training import trainer_of

MOST_EPOCHS_MEASURED = 10
"""Epochs after which the validation pairs are measured: all of them up to this many, else as many evenly spaced."""

MOST_PAIRS_MEASURED = 2_000
"""Validation pairs that an epoch before the last is measured on at most: all of them cost as much as an epoch does."""


def measured_epochs(n_epochs: int) -> frozenset[int]:
    """The epochs, counted from 1, at whose end a trial is measured; the last is always one.

    >>> sorted(measured_epochs(25))
    [2, 5, 7, 10, 12, 15, 17, 20, 22, 25]
    """
    n = min(n_epochs, MOST_EPOCHS_MEASURED)
    return frozenset(step * n_epochs // n for step in range(1, n + 1))


class Stopwatch:
    """Seconds by phase; a phase inside another is not counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds spent inside, less those of the phases inside it."""
        before = sum(self.seconds.values())
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            inner = sum(self.seconds.values()) - before
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - inner


def measure_trial(request: TrialRequest, tell: Tell, show: Show) -> TrialMeasured:
    """The trial's outcome. Raises: Infeasible, DamagedArtifact, StorageFull."""
    run = _TrialRun(request, tell, show)
    try:
        return run.outcome()
    except _Pruned:
        return run.outcome_so_far()


class _Pruned(Exception):
    """The trial was told not to go on."""


class _TrialRun:
    def __init__(self, request: TrialRequest, tell: Tell, show: Show) -> None:
        self._request = request
        self._tell = tell
        self._show = show
        self._watch = Stopwatch()
        self._search = ExactNeighbourSearch(threads=request.limits.threads)
        self._epochs: list[EpochMeasurement] = []
        self._training_began = 0.0
        self._validation: Measurement | None = None
        self._ranks: dict[PairSet, PairRanks] = {}
        with self._phase("load"):
            self._corpus = _corpus_of(request)
            self._counts = self._corpus.training_counts()

    def outcome(self) -> TrialMeasured:
        if self._request.role is TrialRole.CONFIRMATION:
            return self._confirmation()
        if self._request.method is not Method.WORD2VEC:
            return self._plain_baseline()
        return self._trained()

    def outcome_so_far(self) -> TrialMeasured:
        self._ranks.clear()  # they are of some of the pairs
        return replace(self._measured(test=None, sha256=None, has_vectors=False), was_pruned=True)

    def _trained(self) -> TrialMeasured:
        request, parameters = self._request, self._parameters()
        with self._phase("train"):
            self._training_began = time.perf_counter()
            embeddings = trainer_of(request.trainer).train(
                self._corpus,
                parameters,
                seed=request.seed,
                threads=request.limits.threads,
                held_out=True,
                on_progress=lambda progress: self._tell(training_progress(progress, parameters)),
                on_epoch=self._measure_epoch,
            )
        is_tested = request.role in {TrialRole.BASELINE, TrialRole.REPLICATE}
        is_kept = request.role is TrialRole.SEARCH
        test = self._measurement(embeddings, "test") if is_tested else None
        with self._phase("write"):
            sha256 = write_vectors(request.staged, embeddings) if is_kept else vectors_sha256(embeddings)
        measured = self._measured(test=test, sha256=sha256, has_vectors=is_kept)
        n_bytes = served_bytes(scoring_rows(embeddings, parameters.scoring))
        return replace(measured, outcome=replace(measured.outcome, model_bytes=n_bytes))

    def _measure_epoch(self, epoch: int, embeddings: Embeddings) -> None:
        parameters = self._parameters()
        decides = epoch in self._request.decides_after
        if not decides and epoch not in measured_epochs(parameters.epochs):
            return
        aside_s = sum(self._watch.seconds.get(phase, 0.0) for phase in ("evaluate", "wait"))
        train_s = time.perf_counter() - self._training_began - aside_s
        is_last = epoch == parameters.epochs
        measurement = self._measurement(embeddings, "validation", at_most=None if is_last else MOST_PAIRS_MEASURED)
        self._epochs.append(EpochMeasurement(epoch=epoch, train_s=train_s, scores=measurement.judged_scores))
        if is_last:
            self._validation = measurement
        with self._watch.phase("wait") if decides else nullcontext():
            answer = self._show(self._epochs[-1], decides=decides)
        if answer is HeartbeatAnswer.PRUNE:
            raise _Pruned

    def _confirmation(self) -> TrialMeasured:
        if self._request.vectors is None:
            msg = "A confirmation measures stored vectors."
            raise ValueError(msg)
        with self._phase("load"):
            embeddings = read_vectors(self._request.vectors)
        test = self._measurement(embeddings, "test")
        return self._measured(test=test, sha256=vectors_sha256(embeddings), has_vectors=False)

    def _plain_baseline(self) -> TrialMeasured:
        self._validation = self._plain_measurement("validation")
        return self._measured(test=self._plain_measurement("test"), sha256=None, has_vectors=False)

    def _measurement(self, embeddings: Embeddings, pair_set: PairSet, *, at_most: int | None = None) -> Measurement:
        request, corpus, pairs = self._request, self._corpus, self._pairs(pair_set)
        with self._phase("evaluate"):
            measurement = evaluate(
                scoring_rows(embeddings, self._parameters().scoring),
                pairs if at_most is None else pairs.spread(at_most),
                search=self._search,
                k=request.objective.k,
                hr_weight=request.objective.hr_weight,
                repeats=corpus.split.repeats,
                segments=corpus.segments,
                training_counts=self._counts,
                artists=corpus.artists,
                on_ranks=lambda ranks: self._keep(pair_set, ranks),
            )
        return self._aggregated(measurement)

    def _plain_measurement(self, pair_set: PairSet) -> Measurement:
        request, corpus, pairs = self._request, self._corpus, self._pairs(pair_set)
        with self._phase("evaluate"):
            queries = answerable_queries(pairs)
            match request.method:
                case Method.MOST_POPULAR:
                    lists = plain_baselines.most_popular(corpus, queries, k=request.objective.k)
                case Method.NEXT_SONG:
                    lists = plain_baselines.next_song_counts(corpus, queries, k=request.objective.k)
                case Method.CO_OCCURRENCE:
                    lists = plain_baselines.co_occurrence(corpus, queries, k=request.objective.k)
                case Method.WORD2VEC:
                    msg = "Word2Vec is trained: it is no plain baseline."
                    raise ValueError(msg)
                case _ as never:
                    assert_never(never)
            measurement = evaluate_lists(
                lists,
                queries,
                pairs,
                is_known=self._counts > 0,
                hr_weight=request.objective.hr_weight,
                repeats=corpus.split.repeats,
                segments=corpus.segments,
                training_counts=self._counts,
                artists=corpus.artists,
                on_ranks=lambda ranks: self._keep(pair_set, ranks),
            )
        return self._aggregated(measurement)

    def _pairs(self, pair_set: PairSet) -> Pairs:
        return self._corpus.validation if pair_set == "validation" else self._corpus.test

    def _keep(self, pair_set: PairSet, ranks: PairRanks) -> None:
        """Those of the last epoch stay."""
        self._ranks[pair_set] = ranks

    def _aggregated(self, measurement: Measurement) -> Measurement:
        objective = self._request.objective
        return aggregated(measurement, aggregate=objective.aggregate, weights=objective.weights)

    def _measured(self, *, test: Measurement | None, sha256: str | None, has_vectors: bool) -> TrialMeasured:
        if self._request.ranks is not None and self._ranks:
            with self._phase("write"):
                write_ranks(self._request.ranks, self._ranks)
        outcome = TrialOutcome(
            validation=self._validation,
            test=test,
            epochs=tuple(self._epochs),
            times_s={name: round(seconds, 6) for name, seconds in self._watch.seconds.items()},
            vectors_sha256=sha256,
            threads=self._request.limits.threads,
            cpu=cpu_kind(),
            has_ranks=self._request.ranks is not None and bool(self._ranks),
        )
        return TrialMeasured(outcome=outcome, has_vectors=has_vectors)

    def _parameters(self) -> TrainingParameters:
        if self._request.parameters is None:
            msg = f"A {self._request.role.value} by {self._request.method.value} needs parameters."
            raise ValueError(msg)
        return self._request.parameters

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self._tell(Progress(phase=name, fraction=0.0))
        with self._watch.phase(name):
            yield


def _corpus_of(request: TrialRequest) -> Corpus:
    """What the trial trains and is measured on: of the scope's sessions alone, of a sample of them."""
    corpus, scope, fraction = read_corpus(request.corpus), request.objective.scope, request.sample_fraction
    scoped = corpus if scope is None else corpus.scoped(scope)
    return scoped if fraction is None else sampled(scoped, fraction)


def training_progress(progress: TrainingProgress, parameters: TrainingParameters) -> Progress:
    """How far training is, and the epoch it is in."""
    epoch = min(progress.n_epochs_done + 1, parameters.epochs)
    return Progress(phase="train", fraction=min(progress.fraction, 1.0), epoch=epoch)
