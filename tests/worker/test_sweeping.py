"""What no row keeps is swept now and then."""

import threading

from worker.loop import Reaper
from worker.stopping import Stopping
from worker.sweeping import Sweeper


def test_it_sweeps_at_once_and_then_not_until_it_is_time() -> None:
    swept: list[int] = []

    def sweep() -> int:
        swept.append(1)
        return 3

    sweeper = Sweeper(sweep, every_s=3_600)
    assert [sweeper.reap() for _ in range(3)] == [0, 0, 0]
    assert len(swept) == 1
    always = Sweeper(sweep, every_s=0)
    for _ in range(3):
        always.reap()
    assert len(swept) == 4


def test_slots_that_come_at_the_same_time_sweep_once() -> None:
    swept: list[int] = []

    def sweep() -> int:
        swept.append(1)
        return 0

    sweeper = Sweeper(sweep)
    threads = [threading.Thread(target=sweeper.reap) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(swept) == 1


def test_it_takes_its_turn_with_the_queues_of_a_worker() -> None:
    swept: list[int] = []
    stopping = Stopping(grace_s=1)

    def sweep() -> int:
        swept.append(1)
        stopping.ask()
        return 0

    Reaper([Sweeper(sweep)], lease_s=2, stopping=stopping).run()
    assert swept == [1]
