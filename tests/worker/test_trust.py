"""Real training: one thread repeats itself in another operating-system process."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.study import Objective
from app.domain.tuning.trial import Method, TrialOutcome, TrialRole
from tests.journeys.listening import compiled
from tests.values import OWN_TRAINERS
from worker.messages import Limits, TrialMeasured, TrialRequest, read_message, request_line
from worker.work import perform

N_SONGS, N_SESSIONS, LENGTH = 80, 500, 6

REPEAT = """
import sys
from worker.messages import message_line, read_request
from worker.work import perform
sys.stdout.buffer.write(message_line(perform(read_request(sys.stdin.buffer.readline()), lambda progress: None)))
"""


def random_listening(folder: Path) -> Path:
    songs = np.random.default_rng(9).integers(0, N_SONGS, size=N_SESSIONS * LENGTH)
    place = np.arange(N_SESSIONS * LENGTH)
    plays = {
        "session_id": [f"session-{session}" for session in place // LENGTH],
        "song_id": [f"song-{song}" for song in songs],
        "position": place % LENGTH,
    }
    return compiled(folder, plays=pa.table(plays), n_songs=N_SONGS).folder


def request(corpus: Path, staged: Path, *, trainer: Trainer) -> TrialRequest:
    return TrialRequest(
        limits=Limits(threads=1),
        staged=staged,
        corpus=corpus,
        role=TrialRole.REPLICATE,
        method=Method.WORD2VEC,
        parameters=TrainingParameters(vector_size=16, epochs=2, sg=1),
        trainer=trainer,
        objective=Objective(),
        seed=3,
    )


def outcome_of(asked: TrialRequest) -> TrialOutcome:
    result = perform(asked, lambda progress: None)
    assert isinstance(result, TrialMeasured)
    return result.outcome


@pytest.mark.parametrize("trainer", OWN_TRAINERS)
def test_one_thread_gives_the_same_vectors_in_another_process(tmp_path: Path, trainer: Trainer) -> None:
    asked = request(random_listening(tmp_path), tmp_path, trainer=trainer)
    here = outcome_of(asked)
    line = subprocess.run(
        [sys.executable, "-c", REPEAT], input=request_line(asked), stdout=subprocess.PIPE, check=True
    ).stdout
    there = read_message(line)
    assert isinstance(there, TrialMeasured)
    assert here.vectors_sha256 is not None
    assert there.outcome.vectors_sha256 == here.vectors_sha256
    assert (there.outcome.threads, there.outcome.cpu) == (here.threads, here.cpu) == (1, here.cpu)
    other_seed = outcome_of(replace(asked, seed=4))
    assert other_seed.vectors_sha256 != here.vectors_sha256
    sampled = outcome_of(replace(asked, role=TrialRole.TRANSFER, sample_fraction=0.3))
    assert sampled.test is None
    assert sampled.vectors_sha256 not in {None, here.vectors_sha256}
