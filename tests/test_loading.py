"""What is loaded is never looked at for garbage, and freed at the end all the same."""

import gc
import subprocess
import sys

import pytest

from app.loading import loading


def test_what_was_loaded_is_out_of_the_collectors_sight() -> None:
    before = gc.get_freeze_count()
    with loading():
        assert not gc.isenabled()
        kept = [[number] for number in range(100)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)


def test_garbage_is_collected_again_after_a_failure() -> None:
    with pytest.raises(KeyError), loading():
        raise KeyError
    assert gc.isenabled()


def test_a_library_that_counts_what_is_never_freed_has_nothing_to_say() -> None:
    program = "from app.loading import loading\nwith loading():\n    import duckdb"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")
