"""Logging: readable, in one place, and without anybody's password."""

import json
import logging

import pytest
import structlog

from app import log

pytestmark = pytest.mark.usefixtures("logging_restored")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_both_kinds_of_loggers_write_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="info", log_format="json")
    logging.getLogger("a.library").info("moved %d rows", 3, extra={"table": "plays", "color_message": "\x1b[36m"})
    structlog.get_logger("ours").info("moved", rows=3)
    theirs, ours = lines(capsys)
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("moved 3 rows", "info", "a.library")
    assert theirs["table"] == "plays"
    assert "color_message" not in theirs
    assert (ours["event"], ours["rows"], ours["logger"]) == ("moved", 3, "ours")
    assert str(ours["timestamp"]).endswith("Z")


def test_lower_levels_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="warning", log_format="json")
    logging.getLogger("a").info("no")
    structlog.get_logger("b").info("no")
    logging.getLogger("a").warning("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_configured_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="info", log_format="json")
    log.configure(level="info", log_format="json")
    logging.getLogger("a").info("once")
    assert len(lines(capsys)) == 1


def test_people_get_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="info", log_format="console")
    logging.getLogger("a").info("hello")
    text = capsys.readouterr().err
    assert "hello" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_credentials_are_written(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="info", log_format="json" if log_format == "json" else "console")
    url = "postgresql+psycopg://segue:hunter2@db:5432/segue"
    logger = logging.getLogger("a")
    logger.info("connecting to %s", url)
    logger.info("settings", extra={"database_url": url, "password": "hunter2", "nested": {"urls": [url, (url,)]}})
    structlog.get_logger("b").info("failed", error=ValueError(url))
    try:
        secret = "hunter2"
        raise RuntimeError(f"cannot reach {url}, {len(secret)}")
    except RuntimeError:
        logger.exception("failed")
    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert "://***@db:5432/segue" in text
    assert "RuntimeError" in text


def test_warnings_of_python_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="info", log_format="json")
    logging.getLogger("py.warnings").warning("old")
    assert lines(capsys)[0]["logger"] == "py.warnings"
