"""Every way to fail has one code, and a reason that leaks nothing of the machine."""

import errno

import pytest

from app.domain.errors import DamagedArtifact, Infeasible, InvalidSource, NotFound, StorageFull
from worker.failures import REASON_LIMIT, LastSeen, clean, failure_of, failure_of_exit, timed_out


@pytest.mark.parametrize(
    ("error", "code", "is_final"),
    [
        (Infeasible("diverged"), "infeasible", True),
        (InvalidSource("no column song_id", pointer="/plays"), "invalid_source", True),
        (StorageFull("no space"), "storage_full", False),
        (DamagedArtifact("altered"), "damaged_artifact", False),
        (MemoryError(), "out_of_memory", False),
        (OSError(errno.ENOSPC, "No space left on device"), "storage_full", False),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "storage_full", False),
        (OSError("1000 requested and 17 written"), "storage_full", False),
        (RuntimeError("IO Error: No space left on device"), "storage_full", False),
        (RuntimeError("Out of Memory Error: failed to allocate"), "out_of_memory", False),
        (RuntimeError("std::bad_alloc"), "out_of_memory", False),
        (RuntimeError("can't start new thread"), "out_of_memory", False),
        (OSError(errno.EACCES, "Permission denied"), "error", False),
        (NotFound("trial", "x"), "error", False),
        (ValueError("odd"), "error", False),
    ],
)
def test_an_exception_has_a_code(error: Exception, code: str, is_final: bool) -> None:
    failed = failure_of(error)
    assert (failed.failure.code, failed.is_final) == (code, is_final)


def seen(
    exit_code: int,
    *,
    output: str = "",
    memory_bytes: int = 0,
    limit: int | None = None,
    was_killed_by_system: bool = False,
) -> LastSeen:
    return LastSeen(
        exit_code=exit_code,
        output=output,
        memory_bytes=memory_bytes,
        memory_limit_bytes=limit,
        was_killed_by_system=was_killed_by_system,
    )


@pytest.mark.parametrize(
    ("last_seen", "code", "told"),
    [
        (seen(-11), "crashed", "SIGSEGV"),
        (seen(-6, output="assertion failed\n"), "crashed", "assertion failed"),
        (seen(-9), "crashed", "SIGKILL"),
        (seen(-9, was_killed_by_system=True), "out_of_memory", "more memory"),
        (seen(-6, memory_bytes=90, limit=100), "out_of_memory", "more memory"),
        (seen(-6, memory_bytes=10, limit=100), "crashed", "SIGABRT"),
        (seen(-6, output="what():  std::bad_alloc"), "out_of_memory", "SIGABRT"),
        (seen(3), "crashed", "exit code 3"),
        (seen(0), "crashed", "without a result"),
        (seen(-63), "crashed", "signal 63"),
    ],
)
def test_an_end_without_a_word_has_a_code(last_seen: LastSeen, code: str, told: str) -> None:
    failed = failure_of_exit(last_seen)
    assert failed.failure.code == code
    assert told in failed.failure.reason
    assert not failed.is_final


def test_a_time_limit_is_named() -> None:
    assert timed_out(90).failure.code == "timed_out"
    assert "90 s" in timed_out(90).failure.reason


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain words", "plain words"),
        ("two\nlines\x1b[31m\x00", "two lines [31m"),
        ("No such file: '/srv/segue/datasets/dat_1/plays.npy'", "No such file: '.../plays.npy'"),
        ("a/b and 1/2 stay", "a/b and 1/2 stay"),
        ("Beyoncé: Déjà Vu", "Beyoncé: Déjà Vu"),
    ],
)
def test_a_reason_is_one_line_without_folders(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_a_long_reason_keeps_its_end() -> None:
    assert clean("x" * 5000 + " the end").endswith("x the end")
    assert len(clean("x" * 5000)) == REASON_LIMIT
