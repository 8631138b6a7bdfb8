"""What memory a trial needs: `python -m tests.benchmarks.memory [--songs 1000000] [--dim 64] [--large]`.

A trial as a worker's child does it (load the corpus, train, measure, write the vectors) in an operating-system process
of its own. The corpus is written to files first and mapped by the trial, so its pages are the system's and don't count;
counted is anonymous memory beside that of the imports and the compiled kernel, sampled every few milliseconds. Prints

    the peak of each phase, in GiB and as a multiple of both matrices       target <= 1.3
    the peak of the whole process, mapped files included                    target with --large <= 24 GiB

Every song is in training, for a row that is never touched costs nothing. `--large` is a bounded run: 10 million songs
of 64 dimensions, 20 million plays, one epoch, 10,000 pairs measured. Linux only: it reads /proc.
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.adapters.corpus import FORMAT
from app.domain.lease import Progress
from app.domain.listening import Split
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.study import Objective
from app.domain.tuning.trial import Method, TrialRole
from worker.environment import child_environment
from worker.messages import Limits, TrialRequest
from worker.work import perform, warm_for

GIB = 2**30
SAMPLED_EVERY_S = 0.002
N_TRAINED, N_HELD_OUT = 8, 2
"""Plays of a session: those that training sees, and the pair at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a trial is."""

    n_songs: int
    dim: int
    n_plays: int
    n_pairs: int
    threads: int = 1

    @property
    def matrices_bytes(self) -> int:
        """Input and output vectors together."""
        return 2 * 4 * self.n_songs * self.dim


LARGE = Size(n_songs=10_000_000, dim=64, n_plays=20_000_000, n_pairs=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Bytes: anonymous memory beyond the start's by phase, at the start, and the whole process's with what it maps."""

    by_phase: dict[str, int]
    at_start: int
    whole: int
    elapsed_s: float


def main() -> None:
    """Print the tables, or be the child."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--plays", type=int, default=5_000_000)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="10 million songs instead")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        peaks = trial_here(given.child, dim=given.dim, threads=given.threads)
        print(json.dumps({name: getattr(peaks, name) for name in Peaks.__dataclass_fields__}))
        return
    size = Size(
        n_songs=LARGE.n_songs if given.large else given.songs,
        dim=LARGE.dim if given.large else given.dim,
        n_plays=LARGE.n_plays if given.large else given.plays,
        n_pairs=LARGE.n_pairs if given.large else given.pairs,
        threads=given.threads,
    )
    report(size, measured(size))


def measured(size: Size) -> Peaks:
    """The peaks of one trial, which runs in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        write_covering_corpus(Path(folder), size)
        command = [sys.executable, "-m", "tests.benchmarks.memory", "--child", folder]
        options = ["--dim", str(size.dim), "--threads", str(size.threads)]
        environment = child_environment(os.environ)
        child = subprocess.run([*command, *options], env=environment, stdout=subprocess.PIPE, check=True)
        return Peaks(**json.loads(child.stdout))


def write_covering_corpus(folder: Path, size: Size) -> None:
    """A compiled corpus in which training sees every song; the others are drawn by popularity, low rows most."""
    rng = np.random.default_rng(0)

    def popular(n: int) -> NDArray[np.int32]:
        return (size.n_songs * rng.random(n) ** 3).astype(np.int32)

    n_sessions = max(-(-size.n_songs // N_TRAINED), size.n_plays // (N_TRAINED + N_HELD_OUT))
    trained = popular(n_sessions * N_TRAINED)
    trained[: size.n_songs] = np.arange(size.n_songs)
    rng.shuffle(trained)
    held_out = popular(n_sessions * N_HELD_OUT).reshape(n_sessions, N_HELD_OUT)
    pairs = np.column_stack([held_out, np.zeros(n_sessions, np.int32)])
    arrays: dict[str, NDArray[np.int32] | NDArray[np.int64]] = {
        "plays": np.hstack([trained.reshape(n_sessions, N_TRAINED), held_out]).reshape(-1),
        "offsets": np.arange(n_sessions + 1, dtype=np.int64) * (N_TRAINED + N_HELD_OUT),
        "session_segments": np.zeros(n_sessions, np.int32),
        "validation": pairs[: size.n_pairs],
        "test": pairs[-1:],
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    split = Split()
    told = {
        "format": FORMAT,
        "n_songs": size.n_songs,
        "segments": [],
        "split": {name: getattr(split, name) for name in Split.__dataclass_fields__},
    }
    (folder / "corpus.json").write_text(json.dumps(told), encoding="utf-8")


# The child


@dataclass(slots=True)
class Sampler:
    """The most anonymous memory seen in each phase of the work."""

    phase: str = "load"
    peaks: dict[str, int] = field(default_factory=dict)

    def tell(self, progress: Progress) -> None:
        """Hear which phase has begun."""
        self.look()
        self.phase = progress.phase

    def look(self) -> None:
        """Take a sample."""
        self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), status_bytes("RssAnon"))

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Take samples, in a thread, for as long as the block runs, and one at its end."""
        is_over = threading.Event()

        def run() -> None:
            while not is_over.wait(SAMPLED_EVERY_S):
                self.look()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            self.look()


def trial_here(corpus: Path, *, dim: int, threads: int) -> Peaks:
    """Do the trial in this process."""
    with tempfile.TemporaryDirectory() as staged:
        request = TrialRequest(
            limits=Limits(threads=threads),
            staged=Path(staged),
            corpus=corpus,
            role=TrialRole.SEARCH,
            method=Method.WORD2VEC,
            parameters=TrainingParameters(vector_size=dim, sg=1, epochs=1),
            trainer=Trainer.SEGUE,
            objective=Objective(),
            seed=0,
        )
        warm_for(request)
        at_start = status_bytes("RssAnon")
        sampler = Sampler()
        began_s = time.perf_counter()
        with sampler.looking():
            perform(request, sampler.tell)
    return Peaks(
        by_phase={phase: max(0, peak - at_start) for phase, peak in sampler.peaks.items()},
        at_start=at_start,
        whole=status_bytes("VmHWM"),
        elapsed_s=time.perf_counter() - began_s,
    )


def status_bytes(name: str) -> int:
    """What the system tells of this process's memory."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


# The report


def report(size: Size, peaks: Peaks) -> None:
    """Print what came out."""
    print(
        f"{size.n_songs:,} songs x {size.dim}, {size.n_plays:,} plays, one epoch, {size.n_pairs:,} pairs, "
        f"{size.threads} thread(s): both matrices {size.matrices_bytes / GIB:.2f} GiB"
    )
    print(f"{'phase':10}{'peak GiB':>10}{'/ both matrices':>18}")
    for phase, peak in peaks.by_phase.items():
        print(f"{phase:10}{peak / GIB:10.2f}{peak / size.matrices_bytes:18.2f}")
    highest = max(peaks.by_phase.values())
    print(f"{'trial':10}{highest / GIB:10.2f}{highest / size.matrices_bytes:18.2f}   (target <= 1.3)")
    print(
        f"the whole process {peaks.whole / GIB:.2f} GiB with what it maps, {peaks.at_start / GIB:.2f} GiB of it "
        f"there before; {peaks.elapsed_s:.0f} s"
    )


if __name__ == "__main__":
    main()
