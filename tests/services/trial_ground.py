"""An experiment on models whose geometry is known, and servers that serve it from one database."""

from collections.abc import Callable
from typing import Any

from app.adapters.live_listeners import LiveListeners
from app.domain.experiments.assignment import allocated
from app.domain.experiments.experiment import Experiment, ExperimentState, Serving
from app.domain.experiments.exposure import Exposure
from app.domain.models import Bundle
from app.domain.plays import HeardSong
from app.domain.recommending import RecommendationOptions
from app.domain.repositories import UnitsOfWork
from app.domain.serving import Live, RecommendationsAnswer
from app.services.exposing import CAPACITY, ExposingService, Within
from app.services.exposures import ExposureService
from app.services.listeners import ListenerService
from app.services.segments import UserSegments
from app.services.users import UserService
from tests.services.player import Player, angle_model
from tests.values import NOON, FakeClock, experiment

EXPERIMENT = "exp_1"
VARIANTS = {"control": f"{EXPERIMENT}-1", "treatment": f"{EXPERIMENT}-2"}


def running(identity: str = EXPERIMENT, **changes: Any) -> Experiment:  # noqa: ANN401 - any field of the specification
    """Both variants on half of the users each, begun at noon."""
    draft = experiment(identity, **changes)
    allocation = allocated([], at=NOON, share=draft.spec.traffic, weights=draft.spec.weights, taken=())
    pinned = {variant.name: Bundle(default="mdl_a") for variant in draft.spec.variants}
    return draft.started(at=NOON, allocation=allocation, pinned=pinned)


def stored(units: UnitsOfWork, value: Experiment) -> Experiment:
    """The same, in the database."""
    with units() as unit:
        unit.experiments.add(value)
        unit.commit()
    return value


def replaced(units: UnitsOfWork, value: Experiment) -> Experiment:
    """The same, in the database in the place of what it was."""
    with units() as unit:
        unit.experiments.lock(value.id)
        unit.experiments.save(value)
        unit.commit()
    return value


def reallocated(value: Experiment, *, traffic: float = 1.0, **weights: float) -> Experiment:
    """The same with other shares."""
    spec = value.spec.shared(traffic=traffic, weights=weights)
    allocation = allocated(value.allocations, at=NOON, share=spec.traffic, weights=spec.weights, taken=())
    return value.changed(spec, allocation)


def user_of(value: Experiment, variant: str | None, *, number: int = 0) -> str:
    """The number-th user whom the experiment assigns a variant, or none."""
    return users_of(value, variant, n_users=number + 1)[number]


def users_of(value: Experiment, variant: str | None, *, n_users: int) -> list[str]:
    """The first users whom the experiment assigns a variant, or none."""
    found: list[str] = []
    number = 0
    while len(found) < n_users:
        assignment = value.assignment(f"user {number}")
        if assignment is not None and assignment.variant == variant:
            found.append(f"user {number}")
        number += 1
    return found


class Server(Player):
    """What one server is made of. Its models segment by language; the variants' ones do not."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        monotonic: Callable[[], float] = lambda: 100.0,
        capacity: int = CAPACITY,
        clock: FakeClock | None = None,
        histories: dict[str, list[HeardSong]] | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.listeners = LiveListeners(ListenerService(units, has_cache=False).changes)
        self._dataset: Any = histories or {}
        model = angle_model(segment_by="language", **self._dataset)
        super().__init__(units, model=model, clock=self.clock, monotonic=monotonic, listeners=self.listeners)
        options = RecommendationOptions()
        self.segments = UserSegments(self.histories, live=self.models, options=options)
        self.exposing = ExposingService(
            units,
            segments=self.segments,
            listeners=self.listeners,
            live=self.models,
            clock=self.clock,
            monotonic=monotonic,
            capacity=capacity,
        )
        self.exposures = ExposureService(units, segments=self.segments, clock=self.clock)
        self.users = UserService(
            units,
            histories=self.histories,
            listeners=self.listeners,
            live=self.models,
            clock=self.clock,
            options=options,
        )
        self.load()
        self.follow(units)

    def load(self) -> None:
        """Have the variants live."""
        for name in VARIANTS.values():
            self.models.live[name] = Live(name, 1, angle_model(f"mdl_{name[-1]}", **self._dataset))

    def follow(self, units: UnitsOfWork) -> None:
        """Look at what runs, as the thread that follows the aliases does; models are not stored here."""
        with units.reading() as unit:
            live = unit.experiments.in_states(ExperimentState.RUNNING, ExperimentState.PAUSED)
        self.exposing._served = {each.id: each for each in live}

    def ask(self, user_id: str, experiment_id: str = EXPERIMENT) -> Within[RecommendationsAnswer]:
        """Recommendations within the experiment."""

        def ask(alias: str, serving: Serving) -> RecommendationsAnswer:
            return self.recommendations(user_id, alias=alias, **serving.over({"k": 3}))

        return self.exposing.answered(
            experiment_id, user_id, ask, is_cut_off=lambda answer: answer.history != "complete"
        )


def exposure_of(units: UnitsOfWork, user_id: str, experiment_id: str = EXPERIMENT) -> Exposure | None:
    """What is on record of a user."""
    with units.reading() as unit:
        return unit.exposures.find(experiment_id, user_id)


def n_exposed(units: UnitsOfWork, experiment_id: str = EXPERIMENT) -> int:
    """How many users are."""
    with units.reading() as unit:
        return sum(n for n, _ in unit.exposures.counts(experiment_id).values())
