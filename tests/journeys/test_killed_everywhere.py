"""`kill -9` before and after every commit, claim, spawn, publication and report: nothing acknowledged is lost."""

from tests.journeys import doomed_work
from tests.journeys.house import House
from tests.journeys.mayhem import FATAL_BELOW, FATAL_TO_WORKERS, Mayhem
from worker.child import Work

N_KILLS = 20
SEED = 20_261_125

WORK: Work = doomed_work
"""For the type checker: what doomed runners load by name is what runners expect."""


def test_what_was_acknowledged_survives_and_counts_once_wherever_programs_are_killed(house: House) -> None:
    toll = Mayhem(house, n_kills=N_KILLS, seed=SEED).run()
    assert sum(toll.deaths.values()) >= N_KILLS
    assert {program for program, _ in toll.deaths} == {"server", "worker", "below"}
    points = {point.partition(".")[0] for _, point in toll.deaths}
    assert points == {*FATAL_TO_WORKERS, *FATAL_BELOW}
