"""Songs by words of their title and artist, whatever case and accents they are written in.

Titles and artists are folded when a model is made: compatibility decomposition (NFKD), lower case, marks dropped, and
the letters that do not decompose spelled out (Straße is found by strasse, Mø by mo). Arrow scans them outside Python's
lock, most played songs first, and stops when it has enough: a common word is found at once, and one that is nowhere
costs a scan of everything (0.1 seconds a million songs).
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

CHUNK_ROWS = 16_384

LETTERS = {
    "ß": "ss",
    "ς": "σ",  # noqa: RUF001 - foreign letters are the matter here
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "þ": "th",
    "ł": "l",
    "ı": "i",  # noqa: RUF001
}
"""Letters that neither decompose nor fold by lower case, as they are found."""


def folded(texts: pa.Array) -> pa.Array:
    """The texts without case and accents."""
    plain = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKD"))
    plain = pc.replace_substring_regex(plain, pattern=r"\p{Mn}+", replacement="")
    for letter, spelled in LETTERS.items():
        plain = pc.replace_substring(plain, pattern=letter, replacement=spelled)
    return plain


def words_of(songs: pa.Table) -> pa.Array:
    """What each song is found by, of its title and artist."""
    parts = [_words(songs.slice(start, CHUNK_ROWS)) for start in range(0, songs.num_rows, CHUNK_ROWS)]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.large_string())


class SongSearch:
    """Finds rows of songs by their words; see the module header."""

    def __init__(self, words: pa.Array) -> None:
        self._n_songs = len(words)
        self._chunks = [words.slice(start, CHUNK_ROWS) for start in range(0, self._n_songs, CHUNK_ROWS)]

    def find(self, query: str, *, start: int, limit: int) -> list[int]:
        """Up to `limit` rows from `start` on of songs with all words of the query; any song without words."""
        words = folded(pa.array([query.encode(errors="replace").decode()]))[0].as_py().split()
        if not words:
            return list(range(start, min(start + limit, self._n_songs)))
        rows: list[int] = []
        for number in range(start // CHUNK_ROWS, len(self._chunks)):
            first = number * CHUNK_ROWS
            skipped = max(0, start - first)
            rows += (_matches(self._chunks[number].slice(skipped), words) + first + skipped).tolist()
            if len(rows) >= limit:
                break
        return rows[:limit]


def _words(songs: pa.Table) -> pa.Array:
    """Title and artist on two lines: no word reaches from one into the other."""
    columns = [songs.column(name).cast(pa.large_string()).fill_null("") for name in ("title", "artist")]
    arrays = [column.combine_chunks() for column in columns]
    return folded(pc.binary_join_element_wise(*arrays, pa.scalar("\n", pa.large_string())))


def _matches(texts: pa.Array, words: list[str]) -> NDArray[np.int64]:
    """Where all words occur; the longest is looked for first, for the rest need only be where it was found."""
    places = np.arange(len(texts))
    for word in sorted(words, key=len, reverse=True):
        found = np.flatnonzero(np.asarray(pc.match_substring(texts, pattern=word)))
        places = places[found]
        if len(places) == 0:
            break
        texts = texts.take(pa.array(found))
    return places
