"""Work that misbehaves as the trial's seed says, in real children, in the place of `worker.work`.

It stands in for training, so that a crash does not need a corpus that provokes one.
"""

import os
import signal
import sys
import time
from dataclasses import replace
from enum import IntEnum

import numpy as np

from app.domain.errors import Infeasible
from app.domain.lease import HeartbeatAnswer, Progress
from app.domain.tuning.trial import TrialOutcome
from tests.values import epoch_measured
from worker.messages import Request, Result, Show, Tell, TrialMeasured, TrialRequest


class Act(IntEnum):
    """What the child does."""

    SUCCEED = 0
    SLEEP = 1
    ABORT = 2
    SEGFAULT = 3
    EAT_MEMORY = 4
    EXIT = 5
    DIVERGE = 6
    RAISE = 7
    PRINT = 8
    TELL_ENVIRONMENT = 9
    FILL_DISK = 10
    MOVE_ON = 11
    DIE_OF_MEMORY = 12
    LACK_IMPORT = 13
    SHOW_EPOCHS = 14
    SHOW_IN_VAIN = 15


SLEEP_S = 60.0


def warm() -> None:
    """Nothing is needed."""


def warm_for(request: Request) -> None:
    """Fail where told to."""
    assert isinstance(request, TrialRequest)
    if request.seed == Act.LACK_IMPORT:
        raise ModuleNotFoundError("No module named 'lacking'")


def perform(request: Request, tell: Tell, show: Show) -> Result:  # noqa: PLR0912
    """Act as told."""
    assert isinstance(request, TrialRequest)
    tell(Progress(phase="train", fraction=0.0, epoch=1))
    match Act(request.seed):
        case Act.SLEEP:
            time.sleep(SLEEP_S)
        case Act.ABORT:
            sys.stderr.write("native library: assertion failed in /srv/secret/place/library.c\n")
            sys.stderr.flush()
            os.abort()
        case Act.SEGFAULT:
            os.kill(os.getpid(), signal.SIGSEGV)
        case Act.EAT_MEMORY:
            kept = [np.ones(1 << 24, dtype=np.uint8) for _ in range(1 << 10)]
            return _measured(str(len(kept)))
        case Act.DIE_OF_MEMORY:
            sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
            sys.stderr.flush()
            os.abort()
        case Act.EXIT:
            os._exit(7)
        case Act.DIVERGE:
            raise Infeasible("The vectors are not finite.")
        case Act.RAISE:
            raise KeyError("nothing at /srv/secret/place/of/files.npy")
        case Act.PRINT:
            print("a library prints {", flush=True)  # noqa: T201
            os.write(1, b'{"kind": "trial_measured"}\n')
        case Act.TELL_ENVIRONMENT:
            return _measured(" ".join(sorted(os.environ)))
        case Act.FILL_DISK:
            raise OSError("10 requested and 0 written")
        case Act.LACK_IMPORT:
            raise ModuleNotFoundError("No module named 'lacking'")
        case Act.SHOW_EPOCHS:
            for epoch in (1, 2, 3):
                if show(epoch_measured(epoch, 0.1 * epoch), decides=epoch == 2) is HeartbeatAnswer.PRUNE:
                    return replace(_measured(f"ended after {epoch}"), was_pruned=True)
        case Act.SHOW_IN_VAIN:
            show(epoch_measured(1, 0.1), decides=True)
            time.sleep(SLEEP_S)
        case Act.MOVE_ON:
            for step in range(20):
                tell(Progress(phase="train", fraction=step / 20, epoch=1))
                time.sleep(0.05)
    return _measured("done")


def _measured(told: str) -> TrialMeasured:
    return TrialMeasured(outcome=TrialOutcome(validation=None, vectors_sha256=told), has_vectors=False)
