"""What is said of repeating a trial."""

import pytest

from app.domain.tuning.reproducibility import reproducibility
from app.domain.tuning.trial import Method, Trial, TrialOutcome, TrialRole, TrialState
from tests.values import NOON


def trial(
    *,
    threads: int | None = 1,
    cpu: str | None = "a cpu",
    method: Method = Method.WORD2VEC,
    role: TrialRole = TrialRole.SEARCH,
) -> Trial:
    return Trial(
        id="trl_1",
        study_id="std_1",
        role=role,
        number=0,
        name="trial-0",
        method=method,
        parameters=None,
        state=TrialState.COMPLETED,
        created_at=NOON,
        outcome=TrialOutcome(validation=None, threads=threads, cpu=cpu),
    )


@pytest.mark.parametrize(
    ("measured", "expected", "word"),
    [
        (trial(), True, "a cpu"),
        (trial(threads=2), False, "2 threads"),
        (trial(threads=None), None, "not recorded"),
        (trial(cpu=None), None, "not recorded"),
        (trial(method=Method.NEXT_SONG, threads=2), True, "Counting"),
        (trial(role=TrialRole.CONFIRMATION, threads=2), True, "stored vectors"),
    ],
)
def test_threads_and_cpu_decide(measured: Trial, expected: bool | None, word: str) -> None:
    found = reproducibility(measured)
    assert found is not None
    assert found.is_reproducible is expected
    assert word in found.reason


def test_nothing_is_said_before_it_was_measured() -> None:
    from dataclasses import replace

    assert reproducibility(replace(trial(), outcome=None)) is None
