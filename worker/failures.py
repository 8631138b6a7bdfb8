"""Why work failed, told so that a user can act on it and that nothing of the machine leaks.

infeasible, invalid_source        the request's own fault: final
out_of_memory, timed_out, crashed, storage_full, damaged_artifact, error    trying again may help
"""

import re
import signal
from dataclasses import dataclass

from app.adapters.disk import is_full
from app.domain.errors import DamagedArtifact, Infeasible, InvalidSource, SegueError, StorageFull
from app.domain.lease import Failure
from worker.messages import Failed

REASON_LIMIT = 1_000
"""Characters of a reason."""

NEAR_THE_LIMIT = 0.8
"""A child that dies holding this share of its memory limit is said to have exhausted it."""

_WITHOUT_MEMORY = re.compile(
    r"bad_alloc|MemoryError|cannot allocate memory|out of memory|memory allocation|can't start new thread", re.I
)
_WITHOUT_SPACE = re.compile(r"no space left on device|disk quota exceeded|disk full", re.I)
_PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/'\":,;()]+/)+([^\s/'\":,;()]*)")
_CONTROL = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")


def clean(text: str) -> str:
    r"""One line without control characters, folders or more than REASON_LIMIT characters; the end is kept.

    >>> clean("no file /srv/segue/datasets/a.npy\n")
    'no file .../a.npy'
    """
    return _CONTROL.sub(" ", _PATH.sub(r".../\1", text)).strip()[-REASON_LIMIT:]


def failure_of(error: Exception) -> Failed:
    """What a child tells of an exception that ended its work."""
    match error:
        case Infeasible() | InvalidSource():
            return failed(error.code, str(error), is_final=True)
        case StorageFull() | DamagedArtifact():
            return failed(error.code, str(error))
        case MemoryError():
            return failed("out_of_memory", "The work needs more memory than it may have.")
        case OSError() if is_full(error):
            return failed("storage_full", "No space is left where Segue keeps its files.")
        case SegueError():
            return failed("error", str(error))
    return _failure_of_a_library(error)


def _failure_of_a_library(error: Exception) -> Failed:
    told = f"{type(error).__name__}: {error}"
    if _WITHOUT_SPACE.search(told):
        return failed("storage_full", "No space is left where Segue keeps its files.")
    if _WITHOUT_MEMORY.search(told):
        return failed("out_of_memory", f"The work needs more memory than it may have ({told}).")
    return failed("error", told)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSeen:
    """What a worker saw of a child that ended without a word."""

    exit_code: int
    output: str
    memory_bytes: int
    memory_limit_bytes: int | None
    was_killed_by_system: bool


def failure_of_exit(seen: LastSeen) -> Failed:
    """What a worker concludes of a child that ended without a word."""
    is_near_limit = seen.memory_limit_bytes is not None and (
        seen.memory_bytes >= NEAR_THE_LIMIT * seen.memory_limit_bytes
    )
    ending = _ending(seen.exit_code)
    if seen.was_killed_by_system or is_near_limit or _WITHOUT_MEMORY.search(seen.output):
        return failed("out_of_memory", f"The work needs more memory than it may have: its interpreter {ending}.")
    last_line = seen.output.strip().rpartition("\n")[2]
    told = f" Its last words: {last_line}" if last_line else ""
    return failed("crashed", f"The interpreter {ending}.{told}")


def _ending(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code} and without a result"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was ended by {name}"


def timed_out(limit_s: float) -> Failed:
    """The work took longer than it may."""
    return failed("timed_out", f"The work took longer than its limit of {limit_s:g} s.")


def failed(code: str, reason: str, *, is_final: bool = False) -> Failed:
    """A failure with a clean reason."""
    return Failed(failure=Failure(code=code, reason=clean(reason)), is_final=is_final)
