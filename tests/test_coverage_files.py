"""A program killed while it writes its coverage spoils nobody else's."""

from pathlib import Path

from coverage import CoverageData

from tests.coverage_files import drop_damaged


def written(path: Path) -> Path:
    written = CoverageData(str(path))
    written.add_arcs({f"module_{number}.py": {(line, line + 1) for line in range(200)} for number in range(20)})
    written.close(force=True)
    return path


def test_whole_files_stay_and_damaged_ones_go(tmp_path: Path) -> None:
    whole = written(tmp_path / ".coverage.whole")
    cut = written(tmp_path / ".coverage.cut")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    garbled = written(tmp_path / ".coverage.garbled")
    content = bytearray(garbled.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    garbled.write_bytes(content)
    alien = tmp_path / ".coverage.alien"
    alien.write_bytes(b"not a database" * 1000)
    empty = tmp_path / ".coverage.empty"
    empty.touch()
    assert drop_damaged(tmp_path) == sorted([cut, garbled, alien, empty])
    assert list(tmp_path.iterdir()) == [whole]
