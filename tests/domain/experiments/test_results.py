"""Results and decisions from sums over users whose true effects are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.domain.experiments.decision import DEFAULT_MARGIN, RULE, Advice, advised, margin_of
from app.domain.experiments.effects import Estimate, Heterogeneity, Unknown
from app.domain.experiments.experiment import ExperimentSpec, Variant
from app.domain.experiments.health import RevisionCount
from app.domain.experiments.metrics import Metric, MetricRole, from_preset
from app.domain.experiments.outcomes import Group, Outcomes
from app.domain.experiments.results import Look, Results, examined, level_of, read, withheld
from tests.domain.experiments.estimating import estimate
from tests.domain.experiments.users import Users, listeners, outcomes_of
from tests.values import experiment_spec

GOAL = from_preset("seconds_per_session", MetricRole.GOAL)
GUARDRAIL = from_preset("skip_rate", MetricRole.GUARDRAIL, margin=0.5)
SECONDARY = from_preset("completion", MetricRole.SECONDARY)
NOTHING: dict[str, float] = {"ar": 0.0, "en": 0.0}


def _users(effects: Mapping[str, Mapping[str, float]], *, n: int = 800, seed: int = 1) -> dict[Group, Users]:
    """Users by variant and segment, with each segment's effect in each treatment; the control has none."""
    rng = np.random.default_rng(seed)
    segments = {segment for of_segment in effects.values() for segment in of_segment}
    variants = {"control": dict.fromkeys(sorted(segments), 0.0), **effects}
    return {
        (variant, segment or None): listeners(rng, n, effect=effect, spread=0.5)
        for variant, of_segment in variants.items()
        for segment, effect in of_segment.items()
    }


def _revisions(users: Mapping[Group, Users]) -> list[RevisionCount]:
    return [RevisionCount(0, variant, segment, len(each.y), 0) for (variant, segment), each in users.items()]


def _read(
    effects: Mapping[str, Mapping[str, float]],
    *,
    metrics: Sequence[Metric] = (GOAL,),
    n: int = 800,
    seed: int = 1,
    **changes: Any,  # noqa: ANN401 - any field of the specification
) -> tuple[ExperimentSpec, Results]:
    variants = tuple(Variant(name=name, alias="production") for name in ("control", *effects))
    spec = experiment_spec(metrics=tuple(metrics), variants=variants, **changes)
    users = _users(effects, n=n, seed=seed)
    outcomes = outcomes_of(users, metrics)
    health = _health(spec, outcomes, users)
    return spec, read(spec, outcomes, health=health, estimate=estimate)


def _health(spec: ExperimentSpec, outcomes: Outcomes, users: Mapping[Group, Users]) -> Any:  # noqa: ANN401 - as below
    share = 1 / len(spec.variants)

    def weights(_revision: int) -> dict[str, float]:
        return {variant.name: share for variant in spec.variants}

    return examined(spec, outcomes, revisions=_revisions(users), weights=weights, estimate=estimate)


def test_an_effect_is_found_overall_and_in_each_segment() -> None:
    _, results = _read({"treatment": {"ar": 0.1, "en": 0.1}})

    (found,) = results.metrics
    effect = found.effect("treatment")
    assert effect is not None
    assert isinstance(effect.estimate, Estimate)
    assert effect.estimate.relative == pytest.approx(0.1, abs=0.04)
    assert [each.segment for each in found.segments] == ["ar", "en"]
    assert [(arm.variant, arm.n_users) for arm in found.arms] == [("control", 1_600), ("treatment", 1_600)]
    assert results.health is not None
    assert results.health.state == "ok"
    last = found.last("treatment")
    assert last is not None
    assert last.direction == 1
    assert last.lift == effect.estimate.lift
    assert str(last.day) == "2024-10-17"
    assert found.last("nobody") is None


def test_early_days_cannot_conclude() -> None:
    _, results = _read({"treatment": {"ar": 0.5, "en": 0.5}})

    first = results.metrics[0].looks["treatment"][0]

    assert (first.boundary, first.interval, first.relative_interval) == (None, None, None)
    assert first.direction == 0
    assert first.level == 0.0


def test_looks_narrow_as_days_pass() -> None:
    _, results = _read({"treatment": NOTHING})

    looks = results.metrics[0].looks["treatment"]
    bounds = [look.boundary for look in looks if look.boundary is not None]

    assert bounds == sorted(bounds, reverse=True)
    assert all(look.interval is not None for look in looks[3:])


def test_segments_that_differ_are_told_apart() -> None:
    _, results = _read({"treatment": {"ar": 0.15, "en": -0.1}})

    (differing,) = results.metrics[0].differing
    assert isinstance(differing.found, Heterogeneity)
    assert differing.p_adjusted is not None
    assert differing.p_adjusted < 0.001


def test_users_without_a_segment_count_overall_alone() -> None:
    _, results = _read({"treatment": {"ar": 0.1, "": 0.1}})

    found = results.metrics[0]
    assert [each.segment for each in found.segments] == ["ar"]
    assert found.arms[1].n_users == 1_600
    assert found.differing[0].found == Unknown("Fewer than two segments have an effect to compare.")
    assert found.differing[0].p_adjusted is None


def test_nothing_is_told_of_too_few_users() -> None:
    _, results = _read({"treatment": NOTHING}, n=20)

    assert results.metrics == ()
    assert results.reason is not None
    assert "Too few users: control has 40" in results.reason


def test_a_segment_of_too_few_users_has_no_effect_but_a_reason() -> None:
    spec = experiment_spec()
    users = _users({"treatment": NOTHING})
    users |= {key: listeners(np.random.default_rng(3), 20) for key in (("control", "fr"), ("treatment", "fr"))}
    outcomes = outcomes_of(users, [GOAL])

    results = read(spec, outcomes, health=_health(spec, outcomes, users), estimate=estimate)

    effect = results.metrics[0].effect("treatment", "fr")
    assert effect is not None
    assert effect.estimate == Unknown("Too few users: control has 20, and at least 100 are needed.")
    assert effect.p_adjusted is None


def test_a_sample_ratio_fault_withholds_everything() -> None:
    spec = experiment_spec()
    users = _users({"treatment": {"ar": 0.1, "en": 0.1}})
    users["treatment", "ar"] = listeners(np.random.default_rng(3), 500)
    outcomes = outcomes_of(users, [GOAL])

    results = read(spec, outcomes, health=_health(spec, outcomes, users), estimate=estimate)

    assert results.metrics == ()
    assert "not shared out as they were assigned" in str(results.reason)
    assert advised(spec, results).action == "keep_running"


def test_before_anybody_is_exposed_there_is_nothing() -> None:
    spec = experiment_spec()
    outcomes = outcomes_of({}, [GOAL])

    results = read(spec, outcomes, health=_health(spec, outcomes, {}), estimate=estimate)

    assert results.reason == "Nobody was exposed yet."
    assert results.metrics == ()


def test_metrics_that_had_no_past_are_not_compared_before_the_exposure() -> None:
    spec = experiment_spec()
    users = {
        group: Users(exposed_on=each.exposed_on, y=each.y, d=each.d)
        for group, each in _users({"treatment": NOTHING}).items()
    }
    outcomes = outcomes_of(users, [GOAL])

    check = next(each for each in _health(spec, outcomes, users).checks if each.name == "before_exposure")

    assert check.p_value is None


def test_a_past_that_cannot_be_compared_is_left_out() -> None:
    spec = experiment_spec()
    users = {
        group: replace(each, y_before=np.zeros(len(each.y)), d_before=np.zeros(len(each.y)))
        for group, each in _users({"treatment": NOTHING}).items()
    }
    outcomes = outcomes_of(users, [GOAL])

    check = next(each for each in _health(spec, outcomes, users).checks if each.name == "before_exposure")

    assert check.p_value is None


def test_alpha_is_shared_among_treatments_and_goals() -> None:
    goals = (GOAL, from_preset("seconds_per_user", MetricRole.GOAL), SECONDARY)
    variants = tuple(Variant(name=name, alias="production") for name in ("a", "b", "c"))
    spec = experiment_spec(metrics=goals, variants=variants)

    assert [level_of(spec, metric) for metric in goals] == pytest.approx([0.0125, 0.0125, 0.025])


# Decisions


def _advised(effects: Mapping[str, Mapping[str, float]], **changes: Any) -> Advice:  # noqa: ANN401 - see `_read`
    return advised(*_read(effects, **changes))


def test_a_gain_everywhere_is_shipped() -> None:
    advice = _advised({"treatment": {"ar": 0.12, "en": 0.12}})

    assert (advice.action, advice.variant) == ("ship", "treatment")
    assert [stand.standing for stand in advice.stands] == ["better"]
    assert "bundle" in RULE


def test_a_loss_is_rolled_back() -> None:
    advice = _advised({"treatment": {"ar": -0.12, "en": -0.12}}, planned_days=14)

    assert advice.action == "roll_back"
    assert advice.reason == "treatment is worse in seconds_per_session."


def test_no_difference_is_waited_out_and_then_rolled_back() -> None:
    assert _advised({"treatment": NOTHING}, planned_days=28).action == "keep_running"
    over = _advised({"treatment": NOTHING}, planned_days=14)
    assert over.action == "roll_back"
    assert over.reason == "No gain that every guardrail allows was shown within the 14 days that were planned."


def test_the_articles_case_is_a_bundle() -> None:
    advice = _advised({"treatment": {"ar": 0.2, "de": -0.03, "en": 0.0, "es": -0.02, "fr": -0.05}})

    assert advice.stands[0].standing == "open"
    assert advice.action == "bundle"
    assert advice.segments == {"ar": "treatment", "de": "control", "en": "control", "es": "control", "fr": "control"}


def test_a_gain_in_one_segment_that_harms_no_other_is_shipped() -> None:
    assert _advised({"treatment": {"ar": 0.2, "en": 0.0}}).action == "ship"


def test_a_gain_on_top_is_not_given_to_a_segment_that_loses() -> None:
    advice = _advised({"treatment": {"ar": 0.3, "en": -0.12, "fr": 0.3}})

    assert advice.action == "bundle"
    assert advice.segments == {"ar": "treatment", "en": "control", "fr": "treatment"}


def test_gains_of_different_size_are_one_gain() -> None:
    advice = _advised({"treatment": {"ar": 0.4, "en": 0.15}})

    assert advice.action == "ship"


def test_losses_of_different_size_are_one_loss() -> None:
    advice = _advised({"treatment": {"ar": -0.4, "en": -0.15}})

    assert advice.action == "roll_back"


def test_a_goal_where_less_is_better_is_turned_round() -> None:
    less = replace(GOAL, higher_is_better=False)

    assert _advised({"treatment": {"ar": -0.12, "en": -0.12}}, metrics=(less,)).action == "ship"
    bundle = _advised({"treatment": {"ar": -0.15, "en": 0.1}}, metrics=(less,))
    assert bundle.segments == {"ar": "treatment", "en": "control"}


def test_a_guardrail_has_to_be_held() -> None:
    assert _advised({"treatment": {"ar": 0.12, "en": 0.12}}, metrics=(GOAL, GUARDRAIL)).action == "ship"
    strict = replace(GUARDRAIL, margin=0.05)
    broken = _advised({"treatment": {"ar": 0.2, "en": 0.2}}, metrics=(GOAL, strict))
    assert broken.action == "roll_back"
    assert broken.reason == "treatment is broken in skip_rate."
    near = replace(GUARDRAIL, margin=0.12)
    assert _advised({"treatment": {"ar": 0.12, "en": 0.12}}, metrics=(GOAL, near), planned_days=28).action == (
        "keep_running"
    )


def test_a_guardrail_broken_in_a_segment_keeps_it_out_of_a_bundle() -> None:
    strict = replace(from_preset("completion", MetricRole.GUARDRAIL, margin=0.0), higher_is_better=False)

    advice = _advised({"treatment": {"ar": 0.2, "en": 0.0}}, metrics=(GOAL, strict))

    assert advice.action != "bundle"
    higher = from_preset("completion", MetricRole.GUARDRAIL, margin=0.0)
    allowed = _advised({"treatment": {"ar": 0.2, "en": -0.1}}, metrics=(GOAL, higher, GUARDRAIL))
    assert allowed.segments == {"ar": "treatment", "en": "control"}


def test_the_better_treatment_is_shipped() -> None:
    advice = _advised({"b": {"ar": 0.12, "en": 0.12}, "c": {"ar": 0.3, "en": 0.3}})

    assert (advice.action, advice.variant) == ("ship", "c")


def test_one_loser_is_not_a_reason_to_stop_the_others() -> None:
    advice = _advised({"b": {"ar": -0.2, "en": -0.2}, "c": NOTHING}, planned_days=28)

    assert advice.action == "keep_running"


def test_a_segment_of_too_few_gets_the_control_unless_all_gain() -> None:
    spec = experiment_spec()
    users = _users({"treatment": {"ar": 0.25, "en": -0.15}})
    few = {("control", "fr"): 50, ("treatment", "fr"): 50, ("control", "it"): 5}
    users |= {key: listeners(np.random.default_rng(3), n) for key, n in few.items()}
    outcomes = outcomes_of(users, [GOAL])

    advice = advised(spec, read(spec, outcomes, health=_health(spec, outcomes, users), estimate=estimate))

    assert advice.action == "bundle"
    assert (advice.segments["ar"], advice.segments["en"]) == ("treatment", "control")


def test_what_was_never_looked_at_is_open() -> None:
    spec, results = _read({"treatment": NOTHING}, metrics=(GOAL, GUARDRAIL))
    blind = replace(
        results, n_days=3, metrics=tuple(replace(each, looks={"treatment": ()}) for each in results.metrics)
    )

    advice = advised(spec, blind)

    assert advice.action == "keep_running"
    assert {stand.standing for stand in advice.stands} == {"open"}


def test_guardrails_without_anything_relative_are_open() -> None:
    spec, results = _read({"treatment": {"ar": 0.3, "en": -0.12}}, metrics=(GOAL, GUARDRAIL))

    def bare(look: Look) -> Look:
        return replace(look, relative=None, relative_interval=None)

    without = tuple(
        replace(
            each,
            looks={name: tuple(map(bare, looks)) for name, looks in each.looks.items()},
            segments=tuple(
                replace(effect, estimate=replace(effect.estimate, relative_interval=None))
                if isinstance(effect.estimate, Estimate)
                else effect
                for effect in each.segments
            ),
        )
        for each in results.metrics
    )

    advice = advised(spec, replace(results, metrics=without, n_days=3))

    assert advice.action == "bundle"
    assert [stand.standing for stand in advice.stands if stand.metric == "skip_rate"] == ["open"]
    assert margin_of(from_preset("skip_rate", MetricRole.GUARDRAIL)) == DEFAULT_MARGIN


def test_withheld_results_decide_nothing() -> None:
    advice = advised(experiment_spec(), withheld("No day is over."))

    assert advice.action == "keep_running"
    assert advice.reason == "There is nothing to decide by: No day is over."
