"""What the import contracts in pyproject.toml cannot say."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOMAIN = ROOT / "app" / "domain"
PURE = {"numpy", "scipy", "app", *sys.stdlib_module_names}

READS_ENVIRONMENT = {ROOT / "app" / "config.py"}
PASSES_ENVIRONMENT_ON = {
    ROOT / "app" / "cli.py",
    ROOT / "app" / "server.py",
    ROOT / "app" / "demo" / "service.py",
    ROOT / "worker" / "main.py",
    ROOT / "worker" / "throughput.py",
}
"""They hand the whole environment to a program that they start."""


def imported(path: Path) -> set[str]:
    """The top-level names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


def test_the_domain_needs_the_standard_library_numpy_and_scipy_alone() -> None:
    impure = {path.name: imported(path) - PURE for path in DOMAIN.rglob("*.py")}
    assert {name: modules for name, modules in impure.items() if modules} == {}


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        path
        for folder in ("app", "worker")
        for path in (ROOT / folder).rglob("*.py")
        if "os.environ" in (text := path.read_text(encoding="utf-8")) or "getenv" in text
    }
    assert readers <= READS_ENVIRONMENT | PASSES_ENVIRONMENT_ON


UNPICKLES = re.compile(
    r"\b(c?pickle|_pickle|dill|cloudpickle|joblib|shelve|marshal|read_pickle|to_pickle)\b|allow_pickle=True|torch\.load"
    r"|(Word2Vec|KeyedVectors)\.load\b"
)


def test_nothing_is_pickled_or_unpickled() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("app", "worker", "migrations")
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNPICKLES.search(line.partition("#")[0]) and "Nothing here is a pickle" not in line
    }
    assert found == set()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (
            "app.main",
            {"gensim", "ibis", "duckdb", "bayes_opt", "numba", "sklearn", "scipy.special", "scipy.stats", "worker"}
            | {"pyarrow", "faiss", "redis"},
        ),
        (
            "worker.__main__",
            {"fastapi", "starlette", "uvicorn", "gensim", "ibis", "duckdb", "sklearn", "scipy.special", "scipy.stats"}
            | {"pyarrow", "faiss", "redis"},
        ),
        ("app.cli", {"fastapi", "sqlalchemy", "numpy", "pydantic", "pyarrow"}),
    ],
)
def test_importing_a_program_loads_only_what_it_is_for(module: str, absent: set[str]) -> None:
    script = f"import sys, {module}; print(*sorted(sys.modules.keys() & {absent!r}))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []


def test_no_file_names_a_package_index() -> None:
    for name in ("pyproject.toml", "requirements.lock", "requirements-runtime.lock", "Dockerfile"):
        assert re.findall(r"(?:https?|file)://|index-url|find-links", (ROOT / name).read_text(encoding="utf-8")) == []


def test_the_runtime_lock_is_a_part_of_the_whole_one() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return {line.removesuffix(" \\") for line in lines if "==" in line and not line.startswith((" ", "#"))}

    runtime, whole = pins("requirements-runtime.lock"), pins("requirements.lock")
    assert runtime
    assert runtime < whole
