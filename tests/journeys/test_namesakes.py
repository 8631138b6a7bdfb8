"""Two workers by one name: the death of one is noticed although the other lives."""

from tests.journeys.doomed import Fate
from tests.journeys.house import LONG, ON_POSTGRESQL, PATIENT_LEASE_S, House
from tests.processes import kill, until

NAME = "namesake"


@ON_POSTGRESQL
def test_a_worker_does_not_hide_the_death_of_another_by_the_same_name(house: House) -> None:
    first = house.doomed(Fate(worker_id=NAME), lease_s=PATIENT_LEASE_S)
    study = house.study(epochs=LONG, n_initial=2, parallelism=2, fixed={"negative": 15})  # until another has started
    lost = house.caught_training(study)
    house.doomed(Fate(worker_id=NAME), worker_slots=2, lease_s=PATIENT_LEASE_S)
    until(lambda: len(house.view(study).running) == 2, "both are at work")
    holders = [trial.lease.worker_id for trial in house.view(study).running if trial.lease is not None]
    assert all(holder.startswith(f"{NAME}-") for holder in holders)
    assert len(set(holders)) == 2, "yet their claims differ"

    kill(first)
    until(
        lambda: house.container.studies.trial(lost.id).attempt == 2, "the other takes it", within_s=PATIENT_LEASE_S + 15
    )
    house.assert_complete(study)
    attempts = {trial.id: trial.attempt for trial in house.trials(study)}
    assert attempts.pop(lost.id) == 2
    assert list(attempts.values()) == [1], "the living one kept its own"
