"""Pruning and constraints: how a study asks for them, and how they are told."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field, StringConstraints

from app.api.schemas.base import Body, View
from app.domain.errors import InvalidRequest
from app.domain.tuning.constraints import MAX_CONSTRAINTS, MAX_LENGTH, METRICS, Constraint, Standing, parse
from app.domain.tuning.pruning import LIMITS, Pruned, Pruning, Savings
from app.services.studies import ConstraintView as ConstraintFacts


class Bounds(TypedDict):
    """The smallest and largest value of a field."""

    ge: int
    le: int


def _within(name: str) -> Bounds:
    low, high = LIMITS[name]
    return {"ge": low, "le": high}


class PruningBody(Body):
    """When a trial that does badly is not trained to its end.

    Trials are compared at equal epochs run: after `min_epochs`, and then each time a trial has run twice as long
    (`median`) or `reduction_factor` times as long (`successive_halving`).
    """

    rule: Literal["median", "successive_halving"] = Field(
        description="`median`: a trial ends when its best objective so far is below the median of the others at this "
        "epoch. `successive_halving`: when it is not among the best 1 / `reduction_factor` of all trials so far there, "
        "asynchronously, so that no worker waits for another."
    )
    min_epochs: int = Field(default=1, **_within("min_epochs"), description="Epochs that every trial runs.")
    n_startup_trials: int = Field(
        default=5,
        **_within("n_startup_trials"),
        description="No trial is pruned at an epoch before so many others were measured there.",
    )
    reduction_factor: int | None = Field(
        default=None, **_within("reduction_factor"), description="Of `successive_halving` alone, 3 unless given."
    )

    def pruning(self) -> Pruning:
        """The domain's value. Raises: InvalidRequest."""
        return Pruning(
            rule=self.rule,
            min_epochs=self.min_epochs,
            n_startup_trials=self.n_startup_trials,
            reduction_factor=self.reduction_factor,
        )

    @classmethod
    def of(cls, pruning: Pruning | None) -> "PruningBody | None":
        """As a client would write it."""
        if pruning is None:
            return None
        return cls(
            rule=pruning.rule,
            min_epochs=pruning.min_epochs,
            n_startup_trials=pruning.n_startup_trials,
            reduction_factor=None if pruning.rule == "median" else pruning.factor,
        )


ConstraintTexts = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH)]],
    Field(
        max_length=MAX_CONSTRAINTS,
        description="What the best trial has to keep: a metric, `<=` or `>=`, and a number, `baseline`, or a number "
        "times it. `baseline` is `gensim_defaults` of the same study, `baseline.gensim_defaults_skip_gram` and so on "
        "another one. Metrics, on the validation pairs: "
        + " ".join(f"`{name}`: {metric.description}" for name, metric in METRICS.items())
        + " So `train_seconds` against a baseline of a study that Segue trains compares two trainers; in a study with "
        '`"trainer": "gensim"` it compares hyperparameters.',
        examples=[["train_seconds <= 3 * baseline", "coverage >= 0.95 * baseline", "model_bytes <= 2e9"]],
    ),
]
"""Constraints as a client writes them."""


def constraints_of(texts: list[str]) -> tuple[Constraint, ...]:
    """The domain's values. Raises: InvalidRequest, pointing to the text that is wrong."""
    found = []
    for place, text in enumerate(texts):
        try:
            found.append(parse(text))
        except InvalidRequest as error:
            raise InvalidRequest(str(error), pointer=f"/constraints/{place}") from error
    return tuple(found)


class ConstraintView(View):
    """A constraint over a study."""

    constraint: str = Field(examples=["train_seconds <= 3 * baseline"])
    bound: float | None = Field(description="In the metric's own unit; null until the baseline is measured.")
    n_satisfied: int = Field(description="Completed trials of the search that keep it.")
    n_known: int = Field(description="Completed trials of which it is known whether they do.")

    @classmethod
    def of(cls, facts: ConstraintFacts) -> "ConstraintView":
        """The view of a constraint."""
        return cls(constraint=str(facts.constraint), bound=facts.bound, n_satisfied=facts.n_kept, n_known=facts.n_known)


class StandingView(View):
    """A constraint beside a trial."""

    constraint: str = Field(examples=["train_seconds <= 3 * baseline"])
    value: float | None = Field(description="What the trial has of the metric; null while it is not measured.")
    bound: float | None = Field(description="In the metric's own unit; null until the baseline is measured.")
    is_satisfied: bool | None = Field(description="Null as long as it is not known, and of a trial not completed.")

    @classmethod
    def of(cls, standing: Standing) -> "StandingView":
        """The view of a standing."""
        return cls(
            constraint=str(standing.constraint),
            value=standing.value,
            bound=standing.bound,
            is_satisfied=standing.is_kept,
        )


class PrunedView(View):
    """Why a trial was pruned."""

    rule: Literal["median", "successive_halving"]
    epoch: int = Field(description="After how many epochs.")
    value: float = Field(description="Its objective: the best so far by the median rule, else the one at that epoch.")
    bound: float = Field(description="What it had to be above (by the median rule: not below).")
    n_compared: int = Field(description="Other trials measured at that epoch.")

    @classmethod
    def of(cls, pruned: Pruned | None) -> "PrunedView | None":
        """The view; None of a trial that was not pruned."""
        if pruned is None:
            return None
        return cls(
            rule=pruned.rule, epoch=pruned.epoch, value=pruned.value, bound=pruned.bound, n_compared=pruned.n_peers
        )


class SavingsView(View):
    """What pruning has spared."""

    n_pruned: int
    epochs_saved: int = Field(description="Epochs that pruned trials did not run.")
    train_s_saved: float = Field(description="Training seconds that these epochs would have taken, estimated.")

    @classmethod
    def of(cls, savings: Savings) -> "SavingsView":
        """The view of savings."""
        return cls(n_pruned=savings.n_pruned, epochs_saved=savings.n_epochs, train_s_saved=savings.train_s)
