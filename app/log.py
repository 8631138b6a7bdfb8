"""Logging: one line an event on standard error, for people or for machines, without anybody's password.

Everything goes through the standard library's loggers, so that what libraries say is written in the same way.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal

import structlog
from structlog.types import EventDict, Processor

CREDENTIALS = re.compile(r"(?<=://)[^\s/@'\"]*:[^\s/'\"]*@")
"""User and password of a URL."""

SECRET_NAMES = re.compile(r"(?i)password|secret|token|api_?key|authorization|cookie")
"""Names of values that are never written."""

HIDDEN = "***"

NOISY = ("httpcore2", "httpx2", "gensim", "smart_open", "alembic")
"""Libraries whose information only interests those who debug them."""


def configure(*, level: str, log_format: Literal["json", "console"]) -> None:
    """Write events from `level` up to standard error, those of the standard library's loggers too."""
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # plain text: prettier ones print local variables, secrets with them
        masked,
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _without_colours, *before],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(log_format)],
        )
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(handler)  # of an earlier call
    root.addHandler(output)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING if level != "debug" else logging.NOTSET)


def _without_colours(_logger: object, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's second copy of each message, for terminals
    return event


def _renderer(log_format: Literal["json", "console"]) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer(sort_keys=True)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )


def masked(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The event without credentials in URLs and without values whose name says that they are secret."""
    return {name: HIDDEN if SECRET_NAMES.search(name) else _masked_value(value) for name, value in event.items()}


def _masked_value(value: Any) -> Any:  # noqa: ANN401 - an event holds anything
    if isinstance(value, str):
        return CREDENTIALS.sub(f"{HIDDEN}@", value)
    if isinstance(value, BaseException):
        return CREDENTIALS.sub(f"{HIDDEN}@", repr(value))
    if isinstance(value, Mapping):
        return masked(None, "", dict(value))
    if isinstance(value, list | tuple):
        return [_masked_value(each) for each in value]
    return value
