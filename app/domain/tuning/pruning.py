"""Pruning: a trial that does badly after some of its epochs is not trained to the end.

Notation: v_i(e) is the objective of trial i on the validation pairs after e epochs. A trial decides at the end of the
epochs m, m f, m f^2, ... below its last (m = `min_epochs`), so that trials which run for different numbers of epochs
are compared at equal epochs run. Its peers at e are all other trials of the search that were measured there, whatever
became of them since: those that went on alone would be a choice of the better ones, and the bar would rise by itself.
n counts the peers and the trial itself.

    median               prune if the best v of the trial up to e < median of the peers' v(e)              f = 2
    successive halving   prune unless the trial is one of the best max(1, floor(n / f)), ties to the earlier   f = 3

No trial is pruned at an epoch before `n_startup_trials` peers were measured there.

Sources: the median stopping rule of Golovin et al. 2017 (Vizier), at single epochs instead of running averages, as in
Optuna. Asynchronous successive halving: Li et al. 2020 (ASHA), in the form that decides when a trial arrives at a rung
(Klein et al. 2020): theirs pauses trials and resumes them, and would have to keep the vectors of all that wait. So a
trial goes on for good or ends, and may do so with too little known: of trials in random order, one in f and about
f ln f more go on; of trials that get better and better all do, as they should.

Decisions are taken one after the other, under the study's lock, each on all that was stored before: however many
workers there are, they decide as one worker would that met the epochs in that order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, get_args

from app.domain.errors import InvalidRequest
from app.domain.measurement import EpochMeasurement

Rule = Literal["median", "successive_halving"]

LIMITS: dict[str, tuple[int, int]] = {
    "min_epochs": (1, 1_000),
    "n_startup_trials": (1, 10_000),
    "reduction_factor": (2, 16),
}
"""The smallest and largest value that each number of a pruning rule may have, inclusive."""

MEDIAN_FACTOR = 2
"""The median rule decides each time that a trial has run twice as long."""

REDUCTION_FACTOR = 3
"""One trial in so many goes on where a study that halves does not say: the factor of Hyperband (Li et al. 2018)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """When trials are pruned; see the module header. `reduction_factor` is successive halving's alone."""

    rule: Rule
    min_epochs: int = 1
    n_startup_trials: int = 5
    reduction_factor: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            message = f"rule must be median or successive_halving, not {self.rule!r}."
            raise InvalidRequest(message, pointer="/pruning/rule")
        for name, (low, high) in LIMITS.items():
            value: int | None = getattr(self, name)
            if value is not None and not low <= value <= high:
                message = f"{name} must be between {low} and {high}, not {value}."
                raise InvalidRequest(message, pointer=f"/pruning/{name}")
        if self.rule == "median" and self.reduction_factor is not None:
            message = "The median rule has no reduction_factor: it belongs to successive_halving."
            raise InvalidRequest(message, pointer="/pruning/reduction_factor")

    @property
    def factor(self) -> int:
        """How many times longer a trial has run from one decision to the next."""
        return MEDIAN_FACTOR if self.rule == "median" else self.reduction_factor or REDUCTION_FACTOR

    def decides_after(self, n_epochs: int) -> tuple[int, ...]:
        """The epochs, counted from 1, at whose end a trial of `n_epochs` may be pruned; never the last.

        >>> Pruning(rule="successive_halving").decides_after(30)
        (1, 3, 9, 27)
        """
        epochs = []
        epoch = self.min_epochs
        while epoch < n_epochs:
            epochs.append(epoch)
            epoch *= self.factor
        return tuple(epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Why a trial was pruned: after `epoch` epochs its `value` was below `bound`, as its `n_peers` peers set it."""

    rule: Rule
    epoch: int
    value: float
    bound: float
    n_peers: int


Curve = Mapping[int, float]
"""The objective on the validation pairs by epochs run."""


def curve_of(epochs: Sequence[EpochMeasurement]) -> dict[int, float]:
    """What was measured; epochs without a pair to measure are left out."""
    return {told.epoch: told.scores.objective.value for told in epochs if told.scores.objective is not None}


def decision(pruning: Pruning, curve: Curve, *, peers: Sequence[Curve], n_epochs: int) -> Pruned | None:
    """Why the trial ends where its curve does; None when it goes on. `peers` have no trial known to be infeasible."""
    if not curve:
        return None
    epoch = max(curve)
    values = [peer[epoch] for peer in peers if epoch in peer]
    if epoch not in pruning.decides_after(n_epochs) or len(values) < pruning.n_startup_trials:
        return None
    if pruning.rule == "median":
        value, bound = max(curve.values()), median(values)
        is_pruned = value < bound
    else:
        n_best = max(1, (len(values) + 1) // pruning.factor)
        # The trial is the last to arrive, so it has to be above the one at the last place to take it.
        value, bound = curve[epoch], sorted(values, reverse=True)[n_best - 1]
        is_pruned = value <= bound
    if not is_pruned:
        return None
    return Pruned(rule=pruning.rule, epoch=epoch, value=value, bound=bound, n_peers=len(values))


def worth(curve: Curve, *, finished: Sequence[Curve]) -> float | None:
    """What a pruned trial may have been worth at its end, for a suggester; None when nothing of it was measured.

    Its last value is one at fewer epochs. Optuna tells its tree sampler that value and its Gaussian process nothing at
    all; taken as it is, it makes a point look worse by what training was still to give, and left out, the point and
    those around it look as if nothing were known of them. So it grows by the factor by which the median finished trial
    grew from that epoch on. It ended for not being among the best, so it is never told as better than the median
    finished trial, and never becomes the value to beat.
    """
    if not curve:
        return None
    epoch = max(curve)
    ends = [end[max(end)] for end in finished if end]
    growths = [end[max(end)] / end[epoch] for end in finished if end.get(epoch, 0.0) > 0]
    value = curve[epoch] * median(growths) if growths else curve[epoch]
    return min(value, median(ends)) if ends else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What pruning has spared a study: epochs, and estimated training seconds, that its pruned trials did not run."""

    n_pruned: int
    n_epochs: int
    train_s: float


def savings(pruned: Sequence[tuple[int, EpochMeasurement]]) -> Savings:
    """From the epochs that each pruned trial was to run and its last measurement, its epochs taken as equally long."""
    spared = [(n_epochs - last.epoch, last.train_s / last.epoch) for n_epochs, last in pruned]
    return Savings(
        n_pruned=len(pruned),
        n_epochs=sum(n for n, _ in spared),
        train_s=sum(n * epoch_s for n, epoch_s in spared),
    )
