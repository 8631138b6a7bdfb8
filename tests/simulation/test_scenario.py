"""Simulated listeners are what the scenario says: their effects, tails, sessions and carry-over."""

import numpy as np
import pytest

from app.domain.recommending import SESSION_GAP_MS
from app.simulation.listeners import Effect, Language
from app.simulation.listening import Plays
from app.simulation.scenario import OUTSIDE, TREATMENT, Scenario, SimulationFailed, World

N = 3_000


def world(**changes: object) -> World:
    return World.of(Scenario(**{"n_users": N, "days": 4, "days_before": 3, "n_songs": 50, **changes}))  # type: ignore[arg-type]


def alike(**effect: float) -> World:
    """Listeners who hear ten songs in each of two sessions a day, so that an effect stands out of the noise."""
    found = world(
        n_users=10_000,
        days=5,
        effects={"ar": Effect(**effect)},
        languages=(Language(name="ar", share=1), Language(name="en", share=1)),
    )
    found.listeners.sessions_a_day[:] = 2.0
    found.listeners.songs_a_session[:] = 10.0
    found.listeners.skipped[:] = 0.2
    found.listeners.recommended[:] = 0.3
    return found


def counted(found: World) -> dict[str, np.ndarray]:
    """By listener, since the experiment's third day: sessions, songs, skips and songs recommended."""
    days = list(found.days())[5:]
    n = len(found.listeners)
    return {
        "sessions": np.sum([np.bincount(day.session_user, minlength=n) for day in days], axis=0),
        "songs": np.sum([np.bincount(day.user, minlength=n) for day in days], axis=0),
        "skipped": np.sum([np.bincount(day.user, day.is_skip, minlength=n) for day in days], axis=0),
        "recommended": np.sum([np.bincount(day.user, day.is_recommended, minlength=n) for day in days], axis=0),
    }


@pytest.mark.parametrize("lift", [0.3, -0.3])
@pytest.mark.parametrize(
    ("name", "of", "per"),
    [
        ("songs", "songs", "sessions"),
        ("skipped", "skipped", "songs"),
        ("recommended", "recommended", "songs"),
        ("sessions", "sessions", None),
    ],
)
def test_an_effect_is_the_lift_of_its_mean_in_its_language_alone(
    name: str, of: str, per: str | None, lift: float
) -> None:
    found = alike(**{name: lift})
    counts = counted(found)
    entered = found.exposed_at_ms >= 0

    def mean(language: int, variant: int) -> float:
        who = entered & (found.listeners.language == language) & (found.variant == variant)
        return float(counts[of][who].sum() / (who.sum() if per is None else counts[per][who].sum()))

    assert mean(0, 1) / mean(0, 0) - 1 == pytest.approx(lift, abs=0.05)
    assert mean(1, 1) / mean(1, 0) - 1 == pytest.approx(0.0, abs=0.05)


def test_a_twentieth_of_the_listeners_hears_nearly_half_of_all() -> None:
    found = world(n_users=20_000, days_before=0, days=3)
    n_plays = np.sort(sum(np.bincount(day.user, minlength=20_000) for day in found.days()))
    assert 0.4 < n_plays[-1_000:].sum() / n_plays.sum() < 0.8


def test_who_heard_much_before_hears_much_after_and_the_same_songs() -> None:
    found = world(days_before=7, days=7)
    days = list(found.days())
    before, after = (sum(np.bincount(day.user, minlength=N) for day in some) for some in (days[:7], days[7:]))
    assert np.corrcoef(np.log1p(before), np.log1p(after))[0, 1] > 0.6

    def songs(some: list[Plays], user: int) -> set[int]:
        return {song for day in some for song in day.song[day.user == user].tolist()}

    avid = np.argsort(-np.minimum(before, after))[:20].tolist()
    shared = [len(songs(days[:7], user) & songs(days[7:], user)) / len(songs(days[7:], user)) for user in avid]
    assert np.mean(shared) > 0.2
    language = found.songs.language[np.concatenate([day.song for day in days])]
    assert np.mean(language == found.listeners.language[np.concatenate([day.user for day in days])]) > 0.9


def test_sessions_are_what_silence_parts_across_midnights_too() -> None:
    found = world(n_users=300, days_before=5, days=5)
    days = list(found.days())
    user = np.concatenate([day.user for day in days])
    at_ms = np.concatenate([day.at_ms for day in days])
    seconds = np.concatenate([day.seconds for day in days])
    session = np.concatenate([day.session + place * 1_000_000 for place, day in enumerate(days)])
    order = np.lexsort((at_ms, user))
    assert np.array_equal(np.lexsort((at_ms, session, user)), order)
    apart = np.diff(at_ms[order])[np.diff(user[order]) == 0]
    is_new = np.diff(session[order])[np.diff(user[order]) == 0] != 0
    assert apart[is_new].min() > SESSION_GAP_MS > apart[~is_new].max()
    heard_ms = (seconds[order] * 1000)[:-1][np.diff(user[order]) == 0]
    assert (apart >= heard_ms - 1).all()
    midnights = at_ms[order] // 86_400_000
    assert (np.diff(midnights)[np.diff(user[order]) == 0][~is_new] > 0).any()


def test_listeners_enter_as_their_first_session_after_the_start_begins() -> None:
    found = world(traffic=0.5, treated=0.25)
    days = list(found.days())
    exposures = found.exposures()
    assert (np.diff(exposures.at_ms) >= 0).all()
    assert (exposures.at_ms >= found.scenario.start_ms).all()
    assert (exposures.at_ms < found.scenario.ends_ms).all()
    users = np.concatenate([day.session_user for day in days[3:]])
    begins = np.concatenate([day.session_at_ms for day in days[3:]])
    for user, at_ms in zip(exposures.user[:50].tolist(), exposures.at_ms[:50].tolist(), strict=True):
        assert begins[users == user].min() == at_ms
    assert np.mean(found.variant != OUTSIDE) == pytest.approx(0.5, abs=0.04)
    assert np.mean(exposures.variant == TREATMENT) == pytest.approx(0.25, abs=0.05)
    assert set(found.segments(exposures.user)) == {"ar", "en"}


def test_a_sample_ratio_fault_loses_exposures_of_the_treatment_and_nothing_else() -> None:
    whole, faulty = world(), world(lost=0.3)
    plays = [sum(len(day) for day in each.days()) for each in (whole, faulty)]
    assert plays[0] == plays[1]
    kept = set(faulty.exposures().user.tolist())
    missing = [user for user in whole.exposures().user.tolist() if user not in kept]
    assert (whole.variant[missing] == TREATMENT).all()
    n_treated = np.sum(whole.exposures().variant == TREATMENT)
    assert len(missing) / n_treated == pytest.approx(0.3, abs=0.05)


def test_the_same_seed_gives_the_same_days() -> None:
    one, other, third = ([day.at_ms.sum() for day in world(n_users=50, seed=seed).days()] for seed in (1, 1, 2))
    assert one == other
    assert one != third


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_users": 0}, "n_users"),
        ({"lost": 1.5}, "lost"),
        ({"languages": ()}, "language"),
        ({"languages": (Language(name="ar", share=0.0),)}, "share"),
        ({"effects": {"fr": Effect()}}, "'fr'"),
        ({"effects": {"ar": Effect(songs=-0.6)}}, "'ar'"),
        ({"effects": {"ar": Effect(skipped=-2)}}, "'ar'"),
    ],
)
def test_what_cannot_be_simulated_says_why(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SimulationFailed, match=said):
        world(**changes)
