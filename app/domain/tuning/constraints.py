"""Constraints: what a trial must keep to be the best, in words that people use.

    constraint = metric ("<=" | ">=") bound          train_seconds <= 3 * baseline
    bound      = [number "*"] baseline | number      coverage >= 0.95 * baseline.gensim_defaults_skip_gram
    baseline   = "baseline" ["." name]               model_bytes <= 2e9

`baseline` alone is the study's `gensim_defaults`, measured in the same study.

Notation: x is the trial's value, b the bound; the violation is (x - b) / b for `<=` and (b - x) / b for `>=` (over 1
where b = 0), so that it has no unit and is 0 or less where the constraint is kept.

Source: Chamberlain et al. 2020 tune under a budget of run time; feasibility as a property beside the objective:
Gardner et al. 2014.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from app.domain.errors import InvalidRequest
from app.domain.measurement import Estimate, Measurement
from app.domain.tuning.trial import ENDED_STATES, Method, Trial, TrialOutcome, TrialState, baselines

Relation = Literal["<=", ">="]

DEFAULT_BASELINE = "gensim_defaults"
"""The baseline that is meant where none is named."""

MAX_CONSTRAINTS = 10
"""Constraints that one study may have."""

MAX_LENGTH = 200
"""Characters of a constraint."""

MAX_NUMBER = 1e18
"""The largest number in a constraint."""

MAX_VIOLATION = 1e6
"""The largest violation told, either way: a bound may be as small as numbers get."""

UNKNOWN_VIOLATION = 1.0
"""Of a completed trial whose value, or bound, could not be measured: as much as a whole bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Something measured of a finished trial; None where it could not be. `is_of_training`: not of plain baselines."""

    description: str
    of: Callable[[TrialOutcome], float | None]
    is_of_training: bool = False


def _seconds(phase: str) -> Callable[[TrialOutcome], float | None]:
    return lambda outcome: outcome.times_s.get(phase)


def _validation(of: Callable[[Measurement], float | Estimate | None]) -> Callable[[TrialOutcome], float | None]:
    def value(outcome: TrialOutcome) -> float | None:
        found = None if outcome.validation is None else of(outcome.validation)
        return found.value if isinstance(found, Estimate) else found

    return value


METRICS: dict[str, Metric] = {
    "train_seconds": Metric(
        description="Seconds of training, measuring apart. Baselines are trained by gensim, whatever trains the study.",
        of=_seconds("train"),
        is_of_training=True,
    ),
    "evaluate_seconds": Metric(
        description="Seconds of measuring: after each epoch measured, and for baselines on the test pairs too.",
        of=_seconds("evaluate"),
    ),
    "model_bytes": Metric(
        description="Bytes of the vectors that a model of it serves from.",
        of=lambda outcome: outcome.model_bytes,
        is_of_training=True,
    ),
    "coverage": Metric(
        description="Share of the songs that are recommended.", of=_validation(lambda measured: measured.coverage)
    ),
    "popularity": Metric(
        description="Mean popularity of what is recommended.", of=_validation(lambda measured: measured.popularity)
    ),
    "artist_share": Metric(
        description="How often two songs of one list have the same artist.",
        of=_validation(lambda measured: measured.artist_share),
    ),
    "hit_ratio": Metric(
        description="HR@k over all pairs.", of=_validation(lambda measured: measured.overall.hit_ratio)
    ),
    "ndcg": Metric(description="NDCG@k over all pairs.", of=_validation(lambda measured: measured.overall.ndcg)),
    "objective": Metric(description="The objective.", of=_validation(lambda measured: measured.judged.objective)),
}
"""What can be constrained, by name; measurements are those on the validation pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One constraint. `factor` is the bound, or what it is times a `baseline`."""

    metric: str
    relation: Relation
    factor: float
    baseline: str | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise _wrong(f"{self.metric!r} is no metric; there are {', '.join(METRICS)}")
        if self.relation not in get_args(Relation):
            raise _wrong(f"the relation must be <= or >=, not {self.relation!r}")
        if not 0 <= self.factor <= MAX_NUMBER:
            raise _wrong(f"the number must be between 0 and {MAX_NUMBER:g}, not {self.factor:g}")
        if self.baseline is not None:
            _check_baseline(self.baseline, self.metric)

    def __str__(self) -> str:
        factor = f"{self.factor:.15g}"
        if self.baseline is None:
            return f"{self.metric} {self.relation} {factor}"
        name = "" if self.baseline == DEFAULT_BASELINE else f".{self.baseline}"
        return f"{self.metric} {self.relation} {factor} * baseline{name}"

    def violation(self, *, value: float, bound: float) -> float:
        """By how much a value is on the wrong side of the bound, in bounds; 0 or less on the right side."""
        excess = value - bound if self.relation == "<=" else bound - value
        return min(max(excess / (bound or 1.0), -MAX_VIOLATION), MAX_VIOLATION)


def _check_baseline(name: str, metric: str) -> None:
    methods = {baseline.name: baseline.method for baseline in baselines(epochs=1)}
    if name not in methods:
        raise _wrong(f"{name!r} is no baseline; there are {', '.join(methods)}")
    if METRICS[metric].is_of_training and methods[name] is not Method.WORD2VEC:
        trained = [other for other, method in methods.items() if method is Method.WORD2VEC]
        raise _wrong(f"{name} is not trained and has no {metric}; {' and '.join(trained)} have")


def _wrong(why: str) -> InvalidRequest:
    return InvalidRequest(f"A constraint is wrong: {why}.", pointer="/constraints")


# Reading

_BLANKS = re.compile(r"\s*", re.ASCII)
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign><=|>=|\*|\.)|(?P<none>.)",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int
    """Of its first character, counted from 1."""


def parse(text: str) -> Constraint:
    """The constraint that a text says.

    Raises: InvalidRequest, which names the position of what is wrong, counted from 1.

    >>> str(parse("coverage>=0.95*baseline"))
    'coverage >= 0.95 * baseline'
    """
    if len(text) > MAX_LENGTH:
        raise _wrong(f"it may have {MAX_LENGTH} characters, not {len(text)}")
    return _Reading(text).constraint()


class _Reading:
    """One text, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    def constraint(self) -> Constraint:
        metric = self._take("name", f"a metric ({', '.join(METRICS)})")
        if metric.text not in METRICS:
            raise self._wrong(metric, f"{metric.text!r} is no metric; there are {', '.join(METRICS)}")
        relation = self._take("sign", "<= or >=", "<=", ">=")
        factor, baseline = self._bound(metric.text)
        if self._next.kind != "end":
            raise self._wrong(self._next, f"nothing may follow, but {self._next.text!r} does")
        return Constraint(
            metric=metric.text,
            relation="<=" if relation.text == "<=" else ">=",
            factor=factor,
            baseline=baseline,
        )

    def _bound(self, metric: str) -> tuple[float, str | None]:
        if self._next.kind == "name":
            return 1.0, self._baseline(metric)
        number = self._take("number", "a number or baseline")
        factor = float(number.text)
        if factor > MAX_NUMBER:
            raise self._wrong(number, f"the number may be {MAX_NUMBER:g} at most, not {number.text}")
        if self._next.text != "*":
            return factor, None
        self._advance()
        return factor, self._baseline(metric)

    def _baseline(self, metric: str) -> str:
        self._take("name", "baseline", "baseline")
        if self._next.text != ".":
            return DEFAULT_BASELINE
        self._advance()
        name = self._take("name", "the name of a baseline")
        try:
            _check_baseline(name.text, metric)
        except InvalidRequest as error:
            raise self._wrong(name, str(error).removeprefix("A constraint is wrong: ").removesuffix(".")) from error
        return name.text

    def _take(self, kind: str, wanted: str, *texts: str) -> _Token:
        token = self._next
        if token.kind != kind or (texts and token.text not in texts):
            got = "the end" if token.kind == "end" else repr(token.text)
            raise self._wrong(token, f"{wanted} is expected, not {got}")
        self._advance()
        return token

    def _advance(self) -> None:
        self._next = next(self._tokens)

    def _wrong(self, token: _Token, why: str) -> InvalidRequest:
        return InvalidRequest(f"{self._text!r} at position {token.position}: {why}.", pointer="/constraints")


def _tokens(text: str) -> Iterator[_Token]:
    start = _after_blanks(text, 0)
    while (found := _TOKEN.match(text, start)) is not None:
        yield _Token(str(found.lastgroup), found[0], start + 1)
        start = _after_blanks(text, found.end())
    yield _Token("end", "", len(text) + 1)


def _after_blanks(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    return start if found is None else found.end()


# Judging


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One constraint beside one trial. `value` and `bound` are None while, or where, they are not measured.

    `is_kept` and `violation` are None as long as it is not known, and of a trial that was not completed.
    """

    constraint: Constraint
    value: float | None
    bound: float | None
    is_kept: bool | None
    violation: float | None


Baselines = Mapping[str, Trial]
"""A study's baselines by name."""


def bound_of(constraint: Constraint, known: Baselines) -> float | None:
    """The bound in the metric's own unit; None until the baseline is measured."""
    if constraint.baseline is None:
        return constraint.factor
    value = _value(constraint, known.get(constraint.baseline))
    return None if value is None else constraint.factor * value


def standing(constraint: Constraint, trial: Trial, known: Baselines) -> Standing:
    """How a trial stands to a constraint."""
    value, bound = _value(constraint, trial), bound_of(constraint, known)
    violation: float | None = None
    if value is not None and bound is not None:
        violation = constraint.violation(value=value, bound=bound)
    elif trial.state is TrialState.COMPLETED and (bound is not None or _is_over(known.get(constraint.baseline or ""))):
        violation = UNKNOWN_VIOLATION
    is_kept = None if violation is None else violation <= 0
    return Standing(constraint=constraint, value=value, bound=bound, is_kept=is_kept, violation=violation)


def _value(constraint: Constraint, trial: Trial | None) -> float | None:
    if trial is None or trial.outcome is None or trial.state is not TrialState.COMPLETED:
        return None
    return METRICS[constraint.metric].of(trial.outcome)


def _is_over(trial: Trial | None) -> bool:
    return trial is not None and trial.state in ENDED_STATES


def violations(constraints: Sequence[Constraint], trial: Trial, known: Baselines) -> tuple[float, ...] | None:
    """One number a constraint, kept at 0 or less; None as long as one of them is not known."""
    found = [standing(constraint, trial, known).violation for constraint in constraints]
    numbers = tuple(number for number in found if number is not None)
    return numbers if len(numbers) == len(found) else None


def is_feasible(constraints: Sequence[Constraint], trial: Trial, known: Baselines) -> bool | None:
    """Whether a trial keeps every constraint; None as long as that is not known, False once one is broken."""
    kept = [standing(constraint, trial, known).is_kept for constraint in constraints]
    if False in kept:
        return False
    return None if None in kept else True


def choose(
    constraints: Sequence[Constraint], contenders: Sequence[Trial], known: Baselines
) -> tuple[Trial | None, tuple[Trial, ...]]:
    """The best feasible trial, the earlier of equal ones; and those that may still be better once bounds are known."""
    measured = sorted(
        (trial for trial in contenders if trial.objective is not None),
        key=lambda trial: (-(trial.objective or 0.0), trial.number),
    )
    open_ones: list[Trial] = []
    for trial in measured:
        match is_feasible(constraints, trial, known):
            case True:
                return trial, tuple(open_ones)
            case None:
                open_ones.append(trial)
    return None, tuple(open_ones)
