"""What a child may know of the worker's environment: how to find programs and texts, and no credentials."""

from collections.abc import Mapping

ALLOWED = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "NUMBA_CACHE_DIR",
        "PATH",
        "PYTHONPATH",
        "TMPDIR",
        "TZ",
        "TZDIR",
        "VIRTUAL_ENV",
        "XDG_CACHE_HOME",
    }
)
ALLOWED_PREFIXES = ("LC_", "COVERAGE_", "COV_CORE_")

ONE_THREAD = {
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Importing a library starts no thread, for a runner forks; a child asks for more cores by the library's own call."""

REPEATABLE = {"PYTHONHASHSEED": "0"}


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a child sees."""
    kept = {name: value for name, value in environment.items() if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)}
    return {**kept, **ONE_THREAD, **REPEATABLE}
