from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.domain.tuning.constraints import (
    MAX_LENGTH,
    MAX_VIOLATION,
    METRICS,
    UNKNOWN_VIOLATION,
    Constraint,
    bound_of,
    choose,
    is_feasible,
    parse,
    standing,
    violations,
)
from app.domain.tuning.trial import Method, Trial, TrialOutcome, TrialRole, TrialState, baselines
from tests.values import NOON, outcome


def trial(
    number: int = 0,
    *,
    train_s: float | None = 1.0,
    objective: float = 0.2,
    state: TrialState = TrialState.COMPLETED,
    role: TrialRole = TrialRole.SEARCH,
    name: str | None = None,
) -> Trial:
    told = replace(outcome(objective), times_s={} if train_s is None else {"train": train_s}, model_bytes=4_000)
    return Trial(
        id=f"trl_{role}_{number}",
        study_id="std_1",
        role=role,
        number=number,
        name=name or f"trial-{number}",
        method=Method.WORD2VEC,
        parameters=None,
        state=state,
        created_at=NOON,
        outcome=told if state is TrialState.COMPLETED else None,
    )


def baseline(*, train_s: float | None = 2.0, state: TrialState = TrialState.COMPLETED) -> dict[str, Trial]:
    name = "gensim_defaults"
    return {name: trial(train_s=train_s, state=state, role=TrialRole.BASELINE, name=name)}


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        (
            "train_seconds <= 3 * baseline",
            Constraint(metric="train_seconds", relation="<=", factor=3, baseline="gensim_defaults"),
        ),
        ("model_bytes <= 2e9", Constraint(metric="model_bytes", relation="<=", factor=2e9)),
        (
            "\tcoverage>=0.95*baseline . gensim_defaults_skip_gram ",
            Constraint(metric="coverage", relation=">=", factor=0.95, baseline="gensim_defaults_skip_gram"),
        ),
        ("ndcg >= baseline", Constraint(metric="ndcg", relation=">=", factor=1, baseline="gensim_defaults")),
        (
            "popularity <= 0.5 * baseline.most_popular",
            Constraint(metric="popularity", relation="<=", factor=0.5, baseline="most_popular"),
        ),
    ],
)
def test_constraints_are_read(text: str, constraint: Constraint) -> None:
    assert parse(text) == constraint
    assert parse(str(constraint)) == constraint


@pytest.mark.parametrize(
    ("text", "position", "told"),
    [
        ("", 1, "a metric (train_seconds, "),
        ("   ", 4, "not the end"),
        ("speed <= 3", 1, "'speed' is no metric; there are train_seconds, evaluate_seconds, model_bytes"),
        ("coverage", 9, "<= or >= is expected, not the end"),
        ("coverage < 3", 10, "<= or >= is expected, not '<'"),
        ("coverage = 3", 10, "not '='"),
        ("coverage * 3", 10, "<= or >= is expected, not '*'"),
        ("coverage >=", 12, "a number or baseline is expected, not the end"),
        ("coverage >= -3", 13, "a number or baseline is expected, not '-'"),
        ("coverage >= 3 3", 15, "nothing may follow, but '3' does"),
        ("coverage >= 3baseline", 14, "nothing may follow"),
        ("coverage >= 1e99", 13, "may be 1e+18 at most, not 1e99"),
        ("coverage >= 3 * 4", 17, "baseline is expected, not '4'"),
        ("coverage >= 3 * popularity", 17, "baseline is expected, not 'popularity'"),
        ("coverage >= best", 13, "baseline is expected, not 'best'"),
        ("coverage >= baseline.", 22, "the name of a baseline is expected"),
        ("coverage >= baseline.mine", 22, "'mine' is no baseline; there are gensim_defaults"),
        ("train_seconds <= baseline.next_song", 27, "next_song is not trained and has no train_seconds"),
        ("__import__('os') <= 1", 1, "'__import__' is no metric"),
        ("coverage\u00a0<= 1", 9, "not '\\xa0'"),
    ],
)
def test_what_is_wrong_is_named_with_its_position(text: str, position: int, told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(text)
    assert f"at position {position}: " in str(refused.value)
    assert told in str(refused.value)
    assert refused.value.pointer == "/constraints"


def test_a_long_text_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="200 characters"):
        parse("coverage >= 0" + " " * MAX_LENGTH)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert parse(str(parse(text))) == parse(text)
    except InvalidRequest as refused:
        assert refused.pointer == "/constraints"  # noqa: PT017


@pytest.mark.parametrize(
    "changes",
    [{"metric": "speed"}, {"relation": "<"}, {"factor": -1.0}, {"factor": float("nan")}, {"baseline": "mine"}],
)
def test_a_constraint_cannot_be_built_wrong(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        replace(Constraint(metric="coverage", relation="<=", factor=1), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_seconds", 1.0),
        ("evaluate_seconds", None),
        ("model_bytes", 4_000),
        ("coverage", 0.5),
        ("popularity", 0.1),
        ("hit_ratio", 0.2),
        ("ndcg", 0.2),
        ("objective", 0.2),
    ],
)
def test_every_metric_is_read_from_an_outcome(name: str, value: float | None) -> None:
    told = trial().outcome
    assert told is not None
    assert METRICS[name].of(told) == value


@pytest.mark.parametrize("name", [name for name in METRICS if not METRICS[name].is_of_training])
def test_what_was_not_measured_has_no_value(name: str) -> None:
    assert METRICS[name].of(TrialOutcome(validation=None)) is None


def test_every_metric_is_told_of_and_every_baseline_can_be_named() -> None:
    assert all(metric.description for metric in METRICS.values())
    for other in baselines(epochs=3):
        assert parse(f"coverage >= baseline.{other.name}").baseline == other.name


@pytest.mark.parametrize(
    ("text", "value", "bound", "violation"),
    [
        ("coverage <= 1", 3.0, 2.0, 0.5),
        ("coverage <= 1", 1.0, 2.0, -0.5),
        ("coverage <= 1", 2.0, 2.0, 0.0),
        ("coverage >= 1", 3.0, 2.0, -0.5),
        ("coverage >= 1", 1.0, 2.0, 0.5),
        ("coverage <= 1", 0.25, 0.0, 0.25),
        ("coverage <= 1", 1.0, 1e-300, MAX_VIOLATION),
        ("coverage >= 1", 1.0, 1e-300, -MAX_VIOLATION),
    ],
)
def test_a_violation_is_told_in_bounds(text: str, value: float, bound: float, violation: float) -> None:
    assert parse(text).violation(value=value, bound=bound) == pytest.approx(violation)


TWICE = parse("train_seconds <= 2 * baseline")


def test_a_bound_is_a_number_or_follows_the_baseline() -> None:
    assert bound_of(parse("coverage >= 0.3"), {}) == 0.3
    assert bound_of(TWICE, baseline(train_s=2.0)) == 4.0
    assert bound_of(TWICE, baseline(state=TrialState.RUNNING)) is None
    assert bound_of(TWICE, {}) is None


@pytest.mark.parametrize(
    ("searched", "known", "is_kept", "violation"),
    [
        (trial(train_s=3.0), baseline(), True, -0.25),
        (trial(train_s=5.0), baseline(), False, 0.25),
        (trial(train_s=3.0), baseline(state=TrialState.RUNNING), None, None),
        (trial(train_s=3.0), baseline(state=TrialState.FAILED), False, UNKNOWN_VIOLATION),
        (trial(train_s=None), baseline(), False, UNKNOWN_VIOLATION),
        (trial(state=TrialState.RUNNING), baseline(), None, None),
        (trial(state=TrialState.PRUNED), baseline(), None, None),
    ],
)
def test_a_trial_keeps_a_constraint_or_not_or_it_is_not_known(
    searched: Trial, known: dict[str, Trial], *, is_kept: bool | None, violation: float | None
) -> None:
    found = standing(TWICE, searched, known)
    assert (found.is_kept, found.violation) == (is_kept, violation)
    assert is_feasible([TWICE], searched, known) is is_kept
    assert violations([TWICE], searched, known) == (None if violation is None else (violation,))


def test_one_broken_constraint_is_enough() -> None:
    open_one, broken = TWICE, parse("coverage >= 0.9")
    assert is_feasible([open_one, broken], trial(), baseline(state=TrialState.RUNNING)) is False
    assert violations([open_one, broken], trial(), baseline(state=TrialState.RUNNING)) is None
    assert is_feasible([], trial(), {}) is True


def test_the_best_is_the_best_feasible_and_the_earlier_of_equal_ones() -> None:
    slow = trial(0, objective=0.9, train_s=9.0)
    earlier, later = trial(1, objective=0.4), trial(2, objective=0.4)
    assert choose([TWICE], [later, slow, earlier], baseline()) == (earlier, ())


def test_trials_that_may_still_be_the_best_are_named_as_long_as_the_bound_is_not_known() -> None:
    fixed = parse("coverage >= 0.1")
    contenders = [trial(0, objective=0.9), trial(1, objective=0.4)]
    assert choose([fixed, TWICE], contenders, baseline(state=TrialState.RUNNING)) == (None, tuple(contenders))
    assert choose([fixed], contenders, {}) == (contenders[0], ())
    assert choose([parse("coverage >= 0.9")], contenders, {}) == (None, ())
    assert choose([], [trial(state=TrialState.PRUNED)], {}) == (None, ())
