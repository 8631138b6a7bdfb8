"""Functions compiled by Numba, kept on disk where that is possible.

Numba keeps compiled code beside the source or, where it may not write there, in the user's cache folder
(`NUMBA_CACHE_DIR` names another). Where neither can be written, as in an image that is read-only, every program
compiles anew, which takes some ten seconds, and nothing fails.
"""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(*signature: object, **options: object) -> Callable[[Callable[..., Any]], Any]:
    """Numba's `njit` without the interpreter's lock, without checks of bounds, and with what it compiled kept."""

    def compile_(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - what Numba calls a dispatcher
        settings = {"nogil": True, "boundscheck": False, "error_model": "numpy", **options}
        try:
            return njit(*signature, cache=True, **settings)(function)
        except RuntimeError:  # there is nowhere to keep it
            return njit(*signature, **settings)(function)

    return compile_
