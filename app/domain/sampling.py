"""Samples of a compiled corpus: fewer sessions to train on, the same songs and the same pairs to measure.

A session is in the sample of share f if the first 60 bits of the MD5 of its place, as a number in [0, 1), are below f:
samples are nested, and the same on any machine. (Preparation samples by the sessions' own ids, which are not kept.)
"""

import hashlib
from dataclasses import replace

import numpy as np

from app.domain.listening import Corpus

N_DIGITS = 15
"""Hexadecimal digits looked at: as many bits as a float64 holds, and a few."""


def sampled(corpus: Corpus, fraction: float) -> Corpus:
    """The corpus with about this share of its sessions, in (0, 1]; arrays are new, pairs and vocabulary are its own."""
    chosen = np.fromiter((_place(number) < fraction for number in range(corpus.n_sessions)), dtype=np.bool_)
    lengths = np.diff(corpus.offsets)
    return replace(
        corpus,
        plays=corpus.plays[np.repeat(chosen, lengths)],
        offsets=np.concatenate([[0], np.cumsum(lengths[chosen])]).astype(np.int64),
        session_segments=None if corpus.session_segments is None else corpus.session_segments[chosen],
    )


def _place(number: int) -> float:
    """Where the session stands in [0, 1).

    >>> round(_place(0), 4)
    0.5067
    """
    digest = hashlib.md5(f"session {number}".encode(), usedforsecurity=False).hexdigest()
    return int(digest[:N_DIGITS], 16) / float(16**N_DIGITS)
