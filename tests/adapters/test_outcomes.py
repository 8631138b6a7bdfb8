"""One pass in SQL against the definition, user by user, in both databases."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from app.adapters.sql.engine import create_engine
from app.adapters.sql.outcomes import DAY_MS
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.experiments.exposure import Exposure
from app.domain.experiments.health import RevisionCount
from app.domain.experiments.metrics import Aggregate, Metric, MetricKind, MetricRole, MetricUnit, from_preset
from app.domain.plays import EventType, Play
from app.domain.recommending import SESSION_GAP_MS
from tests.domain.experiments.users import Users
from tests.values import experiment

START_MS = 20_454 * DAY_MS + 9 * 3_600_000
N_DAYS = 4
FIRST_DAY = START_MS // DAY_MS
UNTIL_MS = (FIRST_DAY + N_DAYS) * DAY_MS
COVARIATE_DAYS = 3
N_USERS = 60
OURS = "v1.exp_1-1.mdl_a.1.1767268800000.Zk3-x_9Q"
THEIRS = "v1.exp_11-1.mdl_a.1.1767268800000.Zk3-x_9Q"

METRICS = (
    from_preset("seconds_per_session", MetricRole.GOAL),
    from_preset("seconds_per_user", MetricRole.SECONDARY),
    from_preset("sessions_per_user", MetricRole.SECONDARY),
    from_preset("skip_rate", MetricRole.SECONDARY),
    from_preset("completion", MetricRole.SECONDARY),
    from_preset("attributed_plays", MetricRole.SECONDARY),
    from_preset("returned_after_1_day", MetricRole.SECONDARY),
    Metric(
        name="any_like",
        role=MetricRole.SECONDARY,
        kind=MetricKind.BINARY,
        numerator=Aggregate(sum="events", event_types=(EventType.LIKE,)),
    ),
    Metric(
        name="sessions_with_skip",
        role=MetricRole.SECONDARY,
        kind=MetricKind.BINARY,
        unit=MetricUnit.SESSION,
        numerator=Aggregate(sum="events", event_types=(EventType.SKIP,)),
    ),
)


@pytest.fixture
def units(database_url: str) -> Iterator[SqlUnitsOfWork]:
    engine = create_engine(database_url)
    yield SqlUnitsOfWork(engine)
    engine.dispose()


def _exposures(rng: np.random.Generator) -> list[Exposure]:
    return [
        Exposure(
            experiment_id="exp_1",
            user_id=f"u{number}",
            variant="control" if number % 2 else "treatment",
            segment=(None, "ar", "en")[number % 3],
            exposed_at_ms=START_MS + int(rng.integers(0, UNTIL_MS - START_MS)),
            revision=number % 2,
        )
        for number in range(N_USERS)
    ]


def _plays(rng: np.random.Generator, exposures: Sequence[Exposure]) -> list[Play]:
    plays = []
    for exposure in exposures[: N_USERS - 5]:  # some never play
        for session in range(rng.poisson(4)):
            at_ms = START_MS + int(rng.integers(-5 * DAY_MS, (N_DAYS + 1) * DAY_MS))
            for place in range(rng.integers(1, 5)):
                at_ms += int(rng.integers(0, SESSION_GAP_MS + 200_000))
                plays.append(
                    Play(
                        event_id=f"{exposure.user_id}-{session}-{place}",
                        user_id=exposure.user_id,
                        song_id="s",
                        played_at_ms=at_ms,
                        seconds_streamed=None if rng.random() < 0.2 else float(rng.integers(0, 300)),
                        duration_s=None if rng.random() < 0.2 else 200.0,
                        event_type=list(EventType)[int(rng.integers(0, 3))],
                        attribution=(None, OURS, THEIRS)[int(rng.integers(0, 3))],
                    )
                )
        plays.append(
            Play(
                event_id=f"{exposure.user_id}-at",
                user_id=exposure.user_id,
                song_id="s",
                played_at_ms=exposure.exposed_at_ms,
                seconds_streamed=11.0,
            )
        )
    return plays


def _amount(aggregate: Aggregate, play: Play) -> float:
    if aggregate.event_types is not None and play.event_type not in aggregate.event_types:
        return 0.0
    if aggregate.is_attributed and play.attribution != OURS:
        return 0.0
    is_known = play.seconds_streamed is not None and play.duration_s is not None
    share = min(1.0, play.seconds_streamed / play.duration_s) if is_known else 0.0  # type: ignore[operator]
    return {
        "events": 1.0, "sessions": 1.0, "seconds": play.seconds_streamed or 0.0, "completion": share,
        "completions": float(is_known),
    }[aggregate.sum]  # fmt: skip


def _sessions(plays: Sequence[Play]) -> list[list[Play]]:
    found: list[list[Play]] = []
    for play in sorted(plays, key=lambda each: each.played_at_ms):
        if found and play.played_at_ms - found[-1][-1].played_at_ms <= SESSION_GAP_MS:
            found[-1].append(play)
        else:
            found.append([play])
    return found


def _sum(aggregate: Aggregate, sessions: Sequence[Sequence[Play]], *, counts: bool) -> float:
    sums = [sum(_amount(aggregate, play) for play in session) for session in sessions]
    return float(sum(each > 0 for each in sums)) if counts or aggregate.sum == "sessions" else float(sum(sums))


def _values(metric: Metric, sessions: Sequence[Sequence[Play]]) -> tuple[float, float]:
    """y and d of one user, by definition."""
    is_binary, is_session = metric.kind is MetricKind.BINARY, metric.unit is MetricUnit.SESSION
    y = _sum(metric.numerator, sessions, counts=is_binary and is_session)
    if metric.denominator is not None:
        return y, _sum(metric.denominator, sessions, counts=False)
    if is_session:
        return y, float(len(sessions))
    return (float(y > 0) if is_binary else y), 1.0


def _by_definition(metric: Metric, exposures: Sequence[Exposure], plays: Sequence[Play]) -> Users:
    shape = (len(exposures), N_DAYS)
    y, d, before = np.zeros(shape), np.zeros(shape), np.zeros((len(exposures), 2))
    for row, exposure in enumerate(exposures):
        at_ms = exposure.exposed_at_ms
        own = [play for play in plays if play.user_id == exposure.user_id and play.played_at_ms < UNTIL_MS]
        first_ms = at_ms + (metric.return_after_days or 0) * DAY_MS
        sessions = _sessions([play for play in own if play.played_at_ms >= at_ms])
        for day in range(N_DAYS):
            begun = [each for each in sessions if each[0].played_at_ms // DAY_MS <= FIRST_DAY + day]
            counted = [[play for play in each if play.played_at_ms >= first_ms] for each in begun]
            y[row, day], d[row, day] = _values(metric, counted)
            if metric.return_after_days:
                d[row, day] = float(first_ms < UNTIL_MS and first_ms // DAY_MS <= FIRST_DAY + day)
        earlier = [play for play in own if at_ms - COVARIATE_DAYS * DAY_MS <= play.played_at_ms < at_ms]
        before[row] = _values(metric, _sessions(earlier))
    has_covariate = metric.return_after_days is None
    return Users(
        exposed_on=np.array([each.exposed_at_ms // DAY_MS - FIRST_DAY for each in exposures]),
        y=y,
        d=None if (d == 1.0).all() and metric.denominator is None else d,
        y_before=before[:, 0] if has_covariate else None,
        d_before=before[:, 1] if has_covariate else None,
    )


def test_sums_in_sql_are_those_of_the_users(units: SqlUnitsOfWork) -> None:
    rng = np.random.default_rng(3)
    exposures = _exposures(rng)
    plays = _plays(rng, exposures)
    with units() as unit:
        unit.experiments.add(experiment())
        unit.exposures.record("exp_1", exposures)
        crossed = Exposure(
            experiment_id="exp_1", user_id="x", variant="control", segment="ar", exposed_at_ms=START_MS, revision=0
        )
        unit.exposures.record("exp_1", [crossed])
        unit.exposures.record(
            "exp_1",
            [
                Exposure(
                    experiment_id="exp_1",
                    user_id="x",
                    variant="treatment",
                    segment="ar",
                    exposed_at_ms=START_MS + 5,
                    revision=0,
                )
            ],
        )
        unit.plays.add(plays, received_at=datetime(2026, 1, 1, tzinfo=UTC))
        unit.plays.add(
            [Play(event_id="x", user_id="x", song_id="s", played_at_ms=START_MS + 9, seconds_streamed=9.0)],
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        unit.commit()

    with units.reading() as unit:
        found = unit.outcomes.of_experiment(
            "exp_1", metrics=METRICS, covariate_days=COVARIATE_DAYS, since_ms=START_MS, until_ms=UNTIL_MS
        )
        revisions = unit.outcomes.revisions("exp_1", until_ms=UNTIL_MS)

    groups = {(each.variant, each.segment) for each in exposures}
    for metric in METRICS:
        by_group = found.moments(metric)
        assert by_group.keys() == groups
        for group, moments in by_group.items():
            own = [each for each in exposures if (each.variant, each.segment) == group]
            wanted = _by_definition(metric, own, plays).moments()
            np.testing.assert_allclose(moments.totals, wanted.totals, rtol=1e-9, atol=1e-9, err_msg=metric.name)
            np.testing.assert_allclose(
                moments.lags + moments.lags.transpose(0, 2, 1),
                wanted.lags + wanted.lags.transpose(0, 2, 1),
                rtol=1e-9,
                atol=1e-9,
                err_msg=metric.name,
            )
            assert moments.has_covariate == wanted.has_covariate
    assert (found.first_day, found.n_days) == (FIRST_DAY, N_DAYS)
    played = {play.user_id for play in plays if play.played_at_ms < UNTIL_MS}
    of_group = {group: [each for each in exposures if (each.variant, each.segment) == group] for group in groups}
    assert found.n_active() == {
        group: (len(own), len([each for each in own if each.user_id in played])) for group, own in of_group.items()
    }
    assert RevisionCount(0, "control", "ar", 1, 1) in revisions
    assert sum(each.n for each in revisions) == N_USERS + 1


def test_history_is_read_as_if_everybody_were_exposed_at_the_first_play(units: SqlUnitsOfWork) -> None:
    rng = np.random.default_rng(4)
    plays = _plays(rng, _exposures(rng))
    with units() as unit:
        unit.plays.add(plays, received_at=datetime(2026, 1, 1, tzinfo=UTC))
        unit.commit()
    since_ms = FIRST_DAY * DAY_MS
    metric = METRICS[1]

    with units.reading() as unit:
        found = unit.outcomes.of_history(
            metrics=[metric], covariate_days=COVARIATE_DAYS, since_ms=since_ms, until_ms=UNTIL_MS
        )

    first: dict[str, int] = {}
    for play in sorted(plays, key=lambda each: each.played_at_ms):
        if since_ms <= play.played_at_ms < UNTIL_MS:
            first.setdefault(play.user_id, play.played_at_ms)
    as_if = [
        Exposure(experiment_id="", user_id=user_id, variant="", segment=None, exposed_at_ms=at_ms, revision=0)
        for user_id, at_ms in first.items()
    ]
    wanted = _by_definition(metric, as_if, plays).moments()
    np.testing.assert_allclose(found.moments(metric)["history", None].totals, wanted.totals, rtol=1e-9)


def test_an_experiment_that_nobody_has_seen_has_no_groups(units: SqlUnitsOfWork) -> None:
    with units.reading() as unit:
        found = unit.outcomes.of_experiment(
            "exp_1", metrics=METRICS, covariate_days=0, since_ms=START_MS, until_ms=UNTIL_MS
        )

    assert found.moments(METRICS[0]) == {}
    assert found.n_active() == {}
