"""Samplers that are compared: Segue's suggesters and Optuna's, each asked for a point and told its value."""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import optuna

from app.adapters.bayes_opt import BayesianSuggester
from app.domain.ports import Suggester
from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import CategoricalParameter, FloatParameter, Parameter, SearchSpace
from app.domain.tuning.suggester import Observation

N_INITIAL = 5
"""Points at random before the first that is chosen, for every sampler: the article's."""


class Sampler(Protocol):
    """What searches."""

    def ask(self) -> TrainingParameters:
        """The next point."""
        ...

    def tell(self, parameters: TrainingParameters, value: float) -> None:
        """The value of the point asked for."""
        ...


class Suggested:
    """Segue's: the suggester is given all that was told before."""

    def __init__(self, suggester: Suggester) -> None:
        self._suggester = suggester
        self._seen: list[Observation] = []

    def ask(self) -> TrainingParameters:
        """The next point."""
        return self._suggester.suggest(self._seen, number=len(self._seen))

    def tell(self, parameters: TrainingParameters, value: float) -> None:
        """The value of the point asked for."""
        self._seen.append(Observation(len(self._seen), parameters, value))


class Optuna:
    """Optuna's, on the same space: whole numbers as such, and the logarithm where the space has it."""

    def __init__(self, space: SearchSpace, sampler: optuna.samplers.BaseSampler) -> None:
        self._fixed = space.decode(space.encode(TrainingParameters()))
        self._distributions = {parameter.name: _distribution(parameter) for parameter in space.parameters}
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: optuna.Trial | None = None

    def ask(self) -> TrainingParameters:
        """The next point."""
        self._asked = self._study.ask(self._distributions)
        return replace(self._fixed, **self._asked.params)

    def tell(self, parameters: TrainingParameters, value: float) -> None:
        """The value of the point asked for."""
        if self._asked is not None:
            self._study.tell(self._asked, value)


def _distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    match parameter:
        case CategoricalParameter():
            return optuna.distributions.CategoricalDistribution(parameter.choices)
        case FloatParameter():
            return optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.scale == "log")
        case _:
            return optuna.distributions.IntDistribution(parameter.low, parameter.high, log=parameter.scale == "log")


def samplers(space: SearchSpace) -> dict[str, Callable[[int], Sampler]]:
    """By name, each made with a seed. Optuna's are its defaults but for the number of random points.

    `optuna gp` is among them only where torch, which it needs and Segue doesn't, can be imported.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: dict[str, Callable[[int], Sampler]] = {
        "bayesian": lambda seed: Suggested(BayesianSuggester(space, seed=seed, n_initial=N_INITIAL, acquisition="ei")),
        "random": lambda seed: Suggested(RandomSearch(space, seed)),
        "optuna tpe": lambda seed: Optuna(space, optuna.samplers.TPESampler(seed=seed, n_startup_trials=N_INITIAL)),
    }
    if importlib.util.find_spec("torch") is not None:
        found["optuna gp"] = lambda seed: Optuna(space, _gp(seed))
    return found


def _gp(seed: int) -> optuna.samplers.GPSampler:
    with warnings.catch_warnings():
        # It says that it is experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=N_INITIAL)
