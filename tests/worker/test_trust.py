"""Real training: chance is not crowned, and one thread repeats itself in another operating-system process."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.study import Objective
from app.domain.tuning.trial import Method, TrialOutcome, TrialRole
from tests.journeys.listening import compiled
from worker.messages import Limits, TrialMeasured, TrialRequest, read_message, request_line
from worker.work import perform

N_SONGS, N_SESSIONS, LENGTH = 80, 500, 6

REPEAT = """
import sys
from worker.messages import message_line, read_request
from worker.work import perform
sys.stdout.buffer.write(message_line(perform(read_request(sys.stdin.buffer.readline()), lambda progress: None)))
"""


def random_listening(folder: Path, *, seed: int) -> Path:
    """Songs drawn independently: nothing can be learnt of what comes next."""
    songs = np.random.default_rng(seed).integers(0, N_SONGS, size=N_SESSIONS * LENGTH)
    place = np.arange(N_SESSIONS * LENGTH)
    plays = {
        "session_id": [f"session-{session}" for session in place // LENGTH],
        "song_id": [f"song-{song}" for song in songs],
        "position": place % LENGTH,
    }
    return compiled(folder, plays=pa.table(plays), n_songs=N_SONGS).folder


def request(
    corpus: Path,
    staged: Path,
    *,
    parameters: TrainingParameters | None,
    role: TrialRole = TrialRole.REPLICATE,
    method: Method = Method.WORD2VEC,
) -> TrialRequest:
    return TrialRequest(
        limits=Limits(threads=1),
        staged=staged,
        corpus=corpus,
        role=role,
        method=method,
        parameters=parameters,
        trainer=Trainer.SEGUE,
        objective=Objective(),
        seed=3,
    )


def outcome_of(asked: TrialRequest) -> TrialOutcome:
    result = perform(asked, lambda progress: None)
    assert isinstance(result, TrialMeasured)
    return result.outcome


def test_one_thread_gives_the_same_vectors_in_another_process(tmp_path: Path) -> None:
    corpus = random_listening(tmp_path, seed=9)
    asked = request(corpus, tmp_path, parameters=TrainingParameters(vector_size=16, epochs=2, sg=1))
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
