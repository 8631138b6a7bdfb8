"""Team draft by its properties, and the sign test by its closed form and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.domain.experiments.interleaving import Votes, preferred, team_draft

LISTS = st.lists(st.integers(0, 30), max_size=12, unique=True)


def votes(wins: int, losses: int, *, ties: int = 0) -> Votes:
    return Votes(n_wins=wins, n_losses=losses, n_ties=ties, n_without=0)


@given(LISTS, LISTS, st.integers(1, 15), st.integers(0, 2**32))
def test_each_song_comes_once_and_each_teams_picks_in_its_own_order(
    first: list[int], second: list[int], k: int, seed: int
) -> None:
    picks = team_draft(first, second, k=k, draws=np.random.default_rng(seed))
    songs = [pick.song for pick in picks]
    assert len(set(songs)) == len(songs) == min(k, len({*first, *second}))
    for team, ranked in enumerate((first, second)):
        of_team = [pick.song for pick in picks if pick.team == team]
        assert of_team == [song for song in ranked if song in of_team]
        for place, pick in enumerate(picks):
            if pick.team == team:  # nothing better of its own was left
                assert set(ranked[: ranked.index(pick.song)]) <= set(songs[:place])


@given(LISTS, LISTS, st.integers(1, 15), st.integers(0, 2**32))
def test_in_every_prefix_the_teams_are_as_large_but_for_one(
    first: list[int], second: list[int], k: int, seed: int
) -> None:
    teams = [pick.team for pick in team_draft(first, second, k=k, draws=np.random.default_rng(seed))]
    for end in range(len(teams) + 1):
        assert abs(teams[:end].count(0) - teams[:end].count(1)) <= 1
    if None in teams:
        assert set(teams[teams.index(None) :]) == {None}


def test_one_model_against_itself_shares_out_its_list_in_order() -> None:
    picks = team_draft("abcdef", "abcdef", k=6, draws=np.random.default_rng(3))
    assert "".join(pick.song for pick in picks) == "abcdef"
    assert sorted(str(pick.team) for pick in picks) == ["0", "0", "0", "1", "1", "1"]


def test_what_only_one_list_has_left_belongs_to_no_team() -> None:
    picks = team_draft("a", "abc", k=3, draws=np.random.default_rng(0))
    assert [pick.team for pick in picks[2:]] == [None]
    assert team_draft("", "", k=5, draws=np.random.default_rng(0)) == []


def test_the_first_pick_of_every_round_is_fair() -> None:
    draws = np.random.default_rng(1)
    n = 4_000
    firsts = np.zeros(2)
    for _ in range(n):
        picks = team_draft("abcd", "efgh", k=4, draws=draws)
        firsts += [picks[0].team == 0, picks[2].team == 0]
    assert all(stats.binomtest(int(count), n).pvalue > 0.001 for count in firsts)


@pytest.mark.parametrize(("wins", "losses"), [(9, 1), (0, 1), (5, 5), (0, 12), (30, 0), (61, 39)])
def test_the_preference_is_the_exact_sign_test(wins: int, losses: int) -> None:
    found = preferred(votes(wins, losses, ties=4))
    exact = stats.binomtest(wins, wins + losses)
    interval = exact.proportion_ci(0.95, "exact")
    assert found is not None
    assert found.p_value == pytest.approx(exact.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.preference == pytest.approx((wins - losses) / (wins + losses + 4))
    assert found.is_decided == (not found.low <= 0.5 <= found.high)


def test_nobody_who_decides_is_no_preference() -> None:
    nobody = Votes(n_wins=0, n_losses=0, n_ties=3, n_without=9)
    assert preferred(nobody) is None
    assert (nobody.n_decided, nobody.n_users) == (0, 12)


def test_ties_make_the_preference_smaller_and_not_surer() -> None:
    few, many = preferred(votes(8, 2)), preferred(votes(8, 2, ties=90))
    assert few is not None
    assert many is not None
    assert few.p_value == many.p_value
    assert few.preference > many.preference > 0


def test_two_equal_models_are_told_apart_no_more_often_than_the_level_says() -> None:
    draws = np.random.default_rng(5)
    n_runs, n_users = 2_000, 200
    wins = draws.binomial(n_users, 0.5, n_runs)
    found = [preferred(votes(int(won), n_users - int(won))) for won in wins]
    assert 0.03 <= np.mean([each is not None and each.is_decided for each in found]) <= 0.05


def test_votes_of_segments_add_up() -> None:
    assert votes(3, 1, ties=2) + votes(1, 4) == votes(4, 5, ties=2)
