"""The machine that a worker runs on, as far as it decides how much work is best done at once."""

import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.domain.training import DEFAULT_TRAINER, Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a measurement holds for: another machine, version or trainer is measured anew. None: not known."""

    cpu: str | None
    cores: int
    python: str
    numba: str | None
    segue: str | None
    trainer: Trainer


def n_cores() -> int:
    """Cores that this worker may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def this_machine() -> Machine:
    """The one that this is."""
    return Machine(
        cpu=cpu_kind(),
        cores=n_cores(),
        python=platform.python_version(),
        numba=_version("numba"),
        segue=_version("segue"),
        trainer=DEFAULT_TRAINER,
    )


def cpu_kind() -> str | None:
    """The processor's model."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
