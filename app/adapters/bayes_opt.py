"""Bayesian optimisation: a Gaussian process over the unit cube says where the objective may be best.

Notation: X `(n, n_dims)` points of the cube, y `(n,)` objective values, standardised to mean 0 and deviation 1; the
posterior at x is normal with mean m(x) and deviation s(x); y* is the largest y.

    ei    E[max(f(x) - y* - xi, 0)]     xi = 0.01        the default: the article's
    ucb   m(x) + kappa s(x)             kappa = 2.576    a 99 % bound: explores the most
    poi   P[f(x) > y* + xi]             xi = 0.1         at xi near 0 it hardly leaves the best point

Source: Snoek, Larochelle and Adams 2012 (Matern 5/2, EI); the library bayesian-optimization for acquisition and search.

Departures from the library's defaults, and why
- A length scale for each dimension: one hyperparameter (alpha) moves the objective far more than the others. With few
  points the likelihood alone takes a dimension that matters for one that does not (1 study in 20 ended at half the
  best value), so the scales have a log-normal prior around USUAL_SCALE.
- NOISE: the objective is noisy (a seed moves it), so the process need not pass through every point. Less than it has
  is soon taken for signal, more blurs the peak: with 0.01 twice as many of 40 searches missed it in 50 trials
  (`tests.benchmarks.suggesting`). Fitted beside the length scales, it was no better on average.
- Tried there and left out, as none paid beyond chance: initial points of a Sobol sequence, the logarithm of the
  expected improvement, a fitted amplitude, more climbs and candidates near the best points, another USUAL_SCALE.
- Choices are compared corner to corner (`SearchSpace.snapped`). Source: Garrido-Merchán and Hernández-Lobato 2020.
- Pending points are registered with a lie: the mean that the process, fitted to the known ones, has there. A lie that
  is the same everywhere contradicts what is known beside it: with four workers it learned no faster than random search.
  The library's own ConstantLiar breaks on choices. Source: Ginsbourger, Le Riche and Carraro 2010 (Kriging believer).
- Infeasible points are as bad as the worst seen.
- Constraints have the library's model (the acquisition times the probability that all hold), with processes like that
  of the objective in it: its own know no noise and draw from the global random state. Each is fitted to violations in
  root mean squares, so that where nothing is known a constraint is as likely to hold as not. `ucb` can be negative, so
  that a product with it means nothing: with constraints `ei` stands in for it. Source: Gardner et al. 2014.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from bayes_opt.acquisition import (
    AcquisitionFunction,
    ExpectedImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)
from bayes_opt.parameter import wrap_kernel
from bayes_opt.target_space import TargetSpace
from numpy.typing import NDArray
from scipy.optimize import NonlinearConstraint, minimize
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it ships no annotations

from app.domain.ports import Suggester
from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import SearchSpace
from app.domain.tuning.study import StudySpec
from app.domain.tuning.suggester import Observation

Acquisition = Literal["ei", "ucb", "poi"]
Array = NDArray[np.float64]

NOISE = 0.002
"""Variance of the noise, in variances of the objective: on the shipped set a seed moves it by 0.004 of 0.09."""

LENGTH_SCALES = (0.1, 10.0)
"""The shortest and longest length scale, in sides of the cube."""

USUAL_SCALE = 0.5
"""The median length scale of the prior."""

SPREAD = 0.75
"""The deviation of the logarithm of a length scale in the prior."""

N_RESTARTS = 1
"""Further starts of the search for the length scales."""

N_CANDIDATES = 2_000
"""Random points at which the acquisition is computed."""

N_CLIMBS = 1
"""Best candidates from which it is climbed."""

MAX_FITTED = 120
"""Points the process is fitted to; the cost grows with their cube. Beyond, half are the best and half the newest."""

LEAST_DEVIATION = 1e-12
"""Below it, a point's value is as good as known."""

MAX_STEPS = 20
"""Steps towards the likeliest length scales from each start; they move little after that."""


def suggester_for(spec: StudySpec) -> Suggester:
    """The suggester that a study asks for."""
    if spec.algorithm == "random":
        return RandomSearch(spec.space, spec.seed)
    return BayesianSuggester(
        spec.space,
        seed=spec.seed,
        n_initial=spec.n_initial,
        acquisition=spec.acquisition,
        n_constraints=len(spec.constraints),
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """Different points `(n, n_dims)`, what is known of them, and NaN where nothing is.

    `values` `(n,)` are in deviations from the mean, `violations` `(n, n_constraints)` in root mean squares.
    """

    points: Array
    values: Array
    violations: Array

    @property
    def are_feasible(self) -> NDArray[np.bool_]:
        """Which points hold to all constraints and have a value."""
        return ~np.isnan(self.values) & (self.violations <= 0).all(axis=1)


class BayesianSuggester:
    """The port `Suggester`: random points at first, then the best by acquisition.

    The same seed, number and observations give the same point. What was observed before trial 0 takes the place of as
    many random points. They also serve as long as all values measured are equal, for then there is nothing to learn
    from, and until a point holds to all constraints.
    """

    def __init__(
        self, space: SearchSpace, *, seed: int, n_initial: int, acquisition: Acquisition, n_constraints: int = 0
    ) -> None:
        self._space = space
        self._seed = seed
        self._n_initial = n_initial
        self._acquisition = acquisition
        self._n_constraints = n_constraints
        self._random = RandomSearch(space, seed)

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        """The point for trial `number`: none of those observed while the space has others."""
        # On matrices this small more threads only wait for each other: three times the CPU, and no sooner done.
        with threadpool_limits(1):
            return self._suggested(observations, number=number)

    def _suggested(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        measured = np.array([seen.value for seen in observations if seen.value is not None], dtype=np.float64)
        if self._draws(observations, number) or len(measured) == 0 or np.ptp(measured) == 0:
            return self._random.suggest(observations, number=number)
        known = _known(self._space, observations, measured, n_constraints=self._n_constraints)
        if not known.are_feasible.any():
            return self._random.suggest(observations, number=number)
        search_seed, candidate_seed, fit_seed = _seeds(self._seed, number)
        acquisition = _acquisition(self._acquisition, is_constrained=self._n_constraints > 0)
        process, target_space = self._modelled(known, seed=fit_seed)
        point = acquisition.suggest(
            process,
            target_space,
            n_random=N_CANDIDATES,
            n_smart=N_CLIMBS,
            random_state=search_seed,
        )
        parameters = self._space.decode(point.astype(np.float64))
        seen = {observation.parameters for observation in observations}
        if parameters not in seen:
            return parameters
        candidates = np.random.default_rng(candidate_seed).random((N_CANDIDATES, self._space.n_dims))
        mean, deviation = process.predict(candidates, return_std=True)
        worth = acquisition.base_acq(mean, deviation)
        if target_space.constraint is not None:
            worth = worth * target_space.constraint.predict(candidates)
        for row in np.argsort(-worth, kind="stable"):
            parameters = self._space.decode(candidates[row])
            if parameters not in seen:
                return parameters
        return self._random.suggest(observations, number=number)

    def expected_improvement(
        self, observations: Sequence[Observation], suggested: TrainingParameters, *, number: int
    ) -> float | None:
        """The largest expected improvement at the point suggested and N_CANDIDATES random ones, in the value's units.

        E[max(f(x) - y*, 0)], whatever the study's acquisition, and without its xi: that is for the search. With
        constraints, y* is the best that holds to them, and it is times the probability that all hold.
        """
        measured = np.array([seen.value for seen in observations if seen.value is not None], dtype=np.float64)
        if self._draws(observations, number) or len(measured) == 0 or np.ptp(measured) == 0:
            return None
        _, candidate_seed, fit_seed = _seeds(self._seed, number)
        with threadpool_limits(1):
            known = _known(self._space, observations, measured, n_constraints=self._n_constraints)
            if not known.are_feasible.any():
                return None
            process, target_space = self._modelled(known, seed=fit_seed)
            drawn = np.random.default_rng(candidate_seed).random((N_CANDIDATES, self._space.n_dims))
            candidates = np.vstack([self._space.encode(suggested), drawn])
            mean, deviation = process.predict(candidates, return_std=True)
            constraint = target_space.constraint
            probability = 1.0 if constraint is None else constraint.predict(candidates)
        gain = mean - known.values[known.are_feasible].max()
        z = gain / np.maximum(deviation, LEAST_DEVIATION)
        expected = gain * norm.cdf(z) + deviation * norm.pdf(z)
        return float((np.maximum(expected, 0.0) * probability).max() * measured.std())

    def _modelled(self, known: _Known, *, seed: int) -> tuple[GaussianProcessRegressor, TargetSpace]:
        """The objective's process, and the library's form of what is known, with the constraints' processes in it."""
        process = _fitted(_process(self._space, seed=seed), known.points, known.values)
        constraints = [_fitted(_process(self._space, seed=seed), known.points, missed) for missed in known.violations.T]
        return process, _target_space(known, process, constraints)

    def _draws(self, observations: Sequence[Observation], number: int) -> bool:
        """Whether trial `number` is one of the random initial ones."""
        return number + sum(seen.number < 0 for seen in observations) < self._n_initial


def _seeds(study_seed: int, number: int) -> tuple[int, int, int]:
    search, candidate, fit = np.random.SeedSequence([study_seed, number]).generate_state(3).tolist()
    return search, candidate, fit


def _known(space: SearchSpace, observations: Sequence[Observation], measured: Array, *, n_constraints: int) -> _Known:
    """What the observations say, in their order, thinned out; a point observed more than once has the means."""
    mean, deviation = measured.mean(), measured.std()
    worst = (measured.min() - mean) / deviation
    values_at: dict[tuple[float, ...], list[float]] = {}
    violations_at: dict[tuple[float, ...], list[tuple[float, ...]]] = {}
    for observation in observations:
        place = tuple(space.encode(observation.parameters).tolist())
        values, violations = values_at.setdefault(place, []), violations_at.setdefault(place, [])
        if observation.value is not None:
            values.append((observation.value - mean) / deviation)
        elif observation.is_infeasible:
            values.append(worst)
        if len(observation.violations) == n_constraints:
            violations.append(observation.violations)
    unknown = (np.nan,) * n_constraints
    missed = np.array([np.mean(missed, axis=0) if missed else unknown for missed in violations_at.values()])
    known = _Known(
        points=np.array(list(values_at)),
        values=np.array([np.mean(values) if values else np.nan for values in values_at.values()]),
        violations=_scaled(missed.reshape(len(values_at), n_constraints)),
    )
    kept = _kept(np.where((known.violations > 0).any(axis=1), worst, known.values))
    return _Known(known.points[kept], known.values[kept], known.violations[kept])


def _scaled(violations: Array) -> Array:
    """Each constraint's in root mean squares of what is known of it."""
    if np.isnan(violations).all():
        return violations
    scale = np.sqrt(np.nanmean(violations**2, axis=0))
    return violations / np.where(scale > 0, scale, 1.0)


def _kept(values: Array) -> NDArray[np.int64]:
    """Rows of the values that the process is fitted to, ascending."""
    if len(values) <= MAX_FITTED:
        return np.arange(len(values))
    best = np.argsort(-values, kind="stable")[: MAX_FITTED // 2]
    newest = np.setdiff1d(np.arange(len(values)), best)[-(MAX_FITTED - len(best)) :]
    return np.union1d(best, newest)


def _target_space(
    known: _Known, process: GaussianProcessRegressor, constraints: Sequence[GaussianProcessRegressor]
) -> TargetSpace:
    """The library's form of the unit cube and what is known on it; for what is not, the processes' means stand."""
    limit = NonlinearConstraint(None, np.full(len(constraints), -np.inf), np.zeros(len(constraints)))
    space = TargetSpace(
        None,
        {f"x{dimension}": (0.0, 1.0) for dimension in range(known.points.shape[1])},
        constraint=limit if constraints else None,
    )
    if space.constraint is not None:
        space.constraint.model[:] = constraints
    columns = [_completed(known.values, known.points, process)]
    columns += [
        _completed(missed, known.points, model) for missed, model in zip(known.violations.T, constraints, strict=True)
    ]
    for point, value, *missed in zip(known.points, *columns, strict=True):
        match missed:
            case []:
                space.register(point, value)
            case [alone]:
                space.register(point, value, alone)
            case _:
                space.register(point, value, np.array(missed))
    return space


def _completed(known: Array, points: Array, process: GaussianProcessRegressor) -> Array:
    is_unknown = np.isnan(known)
    completed = known.copy()
    if is_unknown.any():
        completed[is_unknown] = process.predict(points[is_unknown])
    return completed


def _process(space: SearchSpace, *, seed: int) -> GaussianProcessRegressor:
    kernel = Matern(nu=2.5, length_scale=np.full(space.n_dims, USUAL_SCALE), length_scale_bounds=LENGTH_SCALES)
    return GaussianProcessRegressor(
        kernel=wrap_kernel(kernel, transform=space.snapped),
        alpha=NOISE,
        optimizer=_likeliest,
        n_restarts_optimizer=N_RESTARTS,
        random_state=seed,
    )


def _fitted(process: GaussianProcessRegressor, points: Array, values: Array) -> GaussianProcessRegressor:
    """The process with the length scales that the known values make likeliest; they stay from then on."""
    is_known = ~np.isnan(values)
    with warnings.catch_warnings():
        # Said when a length scale comes to rest at a bound. The bounds are there to be met.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(points[is_known], values[is_known])
    return process.set_params(kernel=process.kernel_, optimizer=None)


def _likeliest(
    loss: Callable[[Array], tuple[float, Array]], start: Array, bounds: Sequence[tuple[float, float]]
) -> tuple[Array, float]:
    """The likeliest logarithms of the length scales, and their loss: minus the log posterior density.

    `loss` is minus the log likelihood, with its gradient.
    """

    def penalised(logarithms: Array) -> tuple[float, Array]:
        value, gradient = loss(logarithms)
        away = (logarithms - math.log(USUAL_SCALE)) / SPREAD
        return value + float(away @ away) / 2, gradient + away / SPREAD

    found = minimize(penalised, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": MAX_STEPS})
    return found.x, found.fun


def _acquisition(name: Acquisition, *, is_constrained: bool) -> AcquisitionFunction:
    match name:
        case "ucb" if not is_constrained:
            return UpperConfidenceBound(kappa=2.576)
        case "ei" | "ucb":
            return ExpectedImprovement(xi=0.01)
        case "poi":
            return ProbabilityOfImprovement(xi=0.1)
