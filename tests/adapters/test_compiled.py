import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from app.adapters.compiled import compiled

@compiled()
def double(number):
    return 2 * number

print(double(21))
"""


@pytest.mark.parametrize("is_writable", [True, False])
def test_code_is_compiled_whether_or_not_it_can_be_kept(tmp_path: Path, is_writable: bool) -> None:
    cache = tmp_path / "cache"
    if is_writable:
        cache.mkdir()
    else:
        cache.write_text("no folder")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).parents[2])}
    if not is_writable:
        environment |= {"HOME": str(cache), "XDG_CACHE_HOME": str(cache)}
        (tmp_path / "__pycache__").write_text("no folder")
    printed = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert printed.stdout.strip() == "42"
    assert is_writable == any(cache.rglob("*.nbi"))
