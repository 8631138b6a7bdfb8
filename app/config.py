"""The settings: the only reader of the environment.

Every setting is a variable `SEGUE_<NAME>`, or a line of a `.env` file in the working directory; the environment wins.
An empty variable counts as absent.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import ByteSize, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.adapters.schedules import check_expression
from app.domain.gates import GateLimits
from app.domain.keys import Scope
from app.domain.plays import EventType
from app.domain.recommending import GREATEST_EVENT_WEIGHT

PREFIX = "SEGUE_"
TEST_PREFIX = "SEGUE_TEST_"
"""Variables of the tests, which are no settings."""

CLIENT_KEY = "SEGUE_KEY"
"""Where those who call keep their API key; no setting either."""

ENV_FILE = Path(".env")

SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MEMORY = re.compile(r"[1-9]\d*(\.\d+)?\s?([KMGT]i?B|%)")

JSON_EXAMPLES = {
    "sources": '{"plays": "/srv/plays.parquet"}',
    "retrain_cron": '{"production": "0 4 * * 1"}',
    "gates": '{"recall": 0.95, "popularity_shift": null}',
}

QUOTA = re.compile(r"[1-9]\d{0,8}/(second|minute|hour|day)")

RATE_LIMITS = {
    Scope.READ: "6000/minute",
    Scope.EVENTS: "60000/minute",
    Scope.TUNE: "3000/minute",
    Scope.PROMOTE: "600/minute",
    Scope.ADMIN: "600/minute",
}
"""`serve` has none: counting would cost more than the answer, and overload sheds."""

MIB = 1024**2
GIB = 1024**3


EventWeight = Annotated[float, Field(ge=-GREATEST_EVENT_WEIGHT, le=GREATEST_EVENT_WEIGHT, allow_inf_nan=False)]


class InvalidSettings(Exception):
    """Some settings are wrong; `problems` says what is wrong with each, by the name of its variable."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        lines = [f"  {name}: {problem}" for name, problem in sorted(problems.items())]
        super().__init__("\n".join(["The settings are wrong:", *lines]))
        self.problems = dict(problems)


class Settings(BaseSettings):
    """Every setting, checked. Paths are absolute; `database_url` names its driver."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    data_dir: Path = Field(default=Path(".segue"), description="Where files are kept, and the SQLite database.")
    database_url: str = Field(
        default="",
        repr=False,
        validate_default=True,
        description="SQLite (`sqlite:///…`) or PostgreSQL (`postgresql://…`). Default: `segue.db` in the data folder.",
    )
    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="Redis or Valkey for wake-ups and a cache of recent plays; without it workers poll and plays are "
        "read from SQL.",
    )
    sources: Annotated[dict[str, Path], NoDecode] = Field(
        default_factory=dict,
        description="Files that clients may name: a JSON object from names to paths on the worker's machine.",
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address the server listens on.")
    auth: Literal["keys", "off"] = Field(
        default="keys",
        description="Who may call: `keys`, whoever has an API key; `off`, everybody, on a loopback address only.",
    )
    keys_outlive_s: float = Field(
        default=21_600,
        ge=0,
        le=30 * 86_400,
        description="Seconds for which known API keys are taken while the database is away.",
    )
    rate_limits: Annotated[dict[Scope, str], NoDecode] = Field(
        default_factory=lambda: dict(RATE_LIMITS),
        description="Requests that a key may send, by scope: `read=6000/minute, …`; `none` for no limit at all.",
    )
    overload: Literal["shed", "off"] = Field(
        default="shed",
        description="What becomes of requests that the server is too busy for: `shed`, 503 at once; `off`, they wait.",
    )
    most_in_flight: int = Field(
        default=128,
        ge=1,
        le=100_000,
        description="Requests under way at once in a server process; fewer when it falls behind. 503 beyond.",
    )
    port: int = Field(default=8000, ge=0, le=65_535, description="Port the server listens on; 0 takes a free one.")
    max_upload_bytes: ByteSize = Field(default=ByteSize(2 * GIB), ge=1, description="Largest upload taken.")
    max_body_bytes: ByteSize = Field(
        default=ByteSize(4 * MIB), ge=1024, description="Largest body of any other request taken."
    )

    lease_s: float = Field(
        default=30, ge=1, le=3600, description="Seconds after which a silent worker is taken for dead."
    )
    ask_lease_s: float = Field(
        default=300,
        ge=1,
        le=30 * 86_400,
        description="Seconds after which a silent client that asked for a trial loses it.",
    )
    heartbeat_interval_s: float | None = Field(
        default=None,
        ge=0.05,
        le=1800,
        description="Seconds between a busy worker's signs of life, less than half a lease; "
        "by default a third of it, at most 5.",
    )
    reap_interval_s: float | None = Field(
        default=None,
        ge=0.05,
        le=60,
        description="Seconds between a worker's looks for dead ones; by default half a lease, at most 5.",
    )
    poll_interval_s: float = Field(
        default=1,
        ge=0.05,
        le=60,
        description="Seconds between an idle worker's looks for work, and a server's for events that are followed.",
    )
    worker_slots: int | None = Field(
        default=None,
        ge=0,
        le=256,
        description="Pieces of work a worker does at once; 0: as many as it has cores; by default as measured best.",
    )
    grace_s: float = Field(
        default=20,
        ge=0,
        le=3600,
        description="Seconds a stopping worker gives its work to finish before handing it back.",
    )
    child_memory_bytes: ByteSize | None = Field(
        default=None, ge=256 * MIB, description="Memory one piece of work may use; unlimited by default."
    )
    trial_timeout_s: float = Field(
        default=86_400, ge=1, le=30 * 86_400, description="Seconds a trial may take where its study doesn't say."
    )
    duckdb_memory_limit: str = Field(
        default="2GB", description="Memory preparation uses before it goes on on disk, such as `2GB` or `50%`."
    )
    duckdb_threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads preparation uses; by default one a core."
    )

    alias_poll_s: float = Field(
        default=1, ge=0.05, le=300, description="Seconds between a server's looks for moved aliases."
    )
    left_models_kept_up_to: int = Field(
        default=200_000,
        ge=0,
        description="Songs up to which a model that an alias has left stays loaded in servers, so that going back to "
        "it takes no time, at the memory of one more model an alias; 0: none does.",
    )
    neighbours_kept: int = Field(
        default=64,
        ge=0,
        le=1_000,
        description="Neighbours of each song that are computed when a model is built; 0: every request searches.",
    )
    neighbours_exact_up_to: int = Field(
        default=200_000,
        ge=0,
        description="Songs up to which those come from comparing all pairs, a minute or two of a core at 200,000; "
        "through the index beyond.",
    )
    neighbours_after: int = Field(
        default=100_000,
        ge=0,
        description="Songs beyond which a model serves before they are computed, and searches meanwhile.",
    )
    index_memory: ByteSize = Field(
        default=ByteSize(8 * GIB), ge=MIB, description="Memory of a server's machine that a model's index may take."
    )
    gates: Annotated[GateLimits, NoDecode] = Field(
        default_factory=GateLimits,
        description="What a model must show before an alias moves to it, where a request doesn't say: a JSON object, "
        "null turns a gate off.",
    )
    retrain_cron: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description="When aliases are retrained: a JSON object from their names to cron expressions, in UTC.",
    )
    half_life_days: float = Field(
        default=30, ge=0.01, le=36_500, description="Days after which a play weighs half in a user's profile."
    )
    history_length: int = Field(default=200, ge=1, le=1_000, description="Last plays that make a user's profile.")
    recent_songs_excluded: int = Field(
        default=50, ge=0, le=10_000, description="Last songs heard that are not recommended again."
    )

    event_weights: dict[EventType, EventWeight] = Field(
        default_factory=dict,
        description='What events weigh beside a play: a JSON object, as in `{"like": 2, "skip": 0}`.',
    )
    completion_weight: float = Field(
        default=1, ge=0, le=1, description="How much the share of a song that was heard counts: 0 not at all."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["json", "console"] = Field(default="console", description="How log lines are written.")

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            data_dir = info.data.get("data_dir")
            return "" if data_dir is None else f"sqlite:///{data_dir / 'segue.db'}"
        scheme, separator, rest = value.partition("://")
        match scheme:
            case "postgres" | "postgresql" | "postgresql+psycopg" if separator:
                _check_url(value)
                return f"postgresql+psycopg://{rest}"
            case "sqlite" if separator:
                path, question, query = rest.removeprefix("/").partition("?")
                if not rest.startswith("/") or path in {"", ":memory:"}:
                    msg = "name a file, as in sqlite:///relative.db or sqlite:////absolute.db"
                    raise ValueError(msg)
                return f"sqlite:///{Path(path).absolute()}{question}{query}"
            case _:
                msg = "must begin with sqlite:/// or postgresql://"
                raise ValueError(msg)

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        if value is not None:
            if not value.startswith(("redis://", "rediss://", "unix://")):
                msg = "must begin with redis://, rediss:// or unix://"
                raise ValueError(msg)
            _check_url(value)
        return value

    @field_validator("sources", "retrain_cron", mode="before")
    @classmethod
    def _named_things(cls, value: object, info: ValidationInfo) -> object:
        return _from_json(value, info)

    @field_validator("sources")
    @classmethod
    def _well_named(cls, value: dict[str, Path]) -> dict[str, Path]:
        for name in value:
            if SOURCE_NAME.fullmatch(name) is None:
                msg = f"{name!r} is no name: letters, digits, '_', '-' and '.', at most 64"
                raise ValueError(msg)
        return {name: path.expanduser().absolute() for name, path in value.items()}

    @field_validator("retrain_cron")
    @classmethod
    def _expressions(cls, value: dict[str, str]) -> dict[str, str]:
        for expression in value.values():
            check_expression(expression)
        return value

    @field_validator("gates", mode="before")
    @classmethod
    def _gates_there_are(cls, value: object, info: ValidationInfo) -> object:
        value = _from_json(value, info)
        if not isinstance(value, dict):
            return value
        unknown = sorted(value.keys() - {field.name for field in fields(GateLimits)})
        if unknown:
            msg = f"names no gate: {', '.join(map(str, unknown))}"
            raise ValueError(msg)
        for name, limit in value.items():
            is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if is_number and not (math.isfinite(limit) and limit >= 0):
                msg = f"{name} must be a number of at least 0"
                raise ValueError(msg)
        return value

    @field_validator("rate_limits", mode="before")
    @classmethod
    def _by_scope(cls, value: object) -> object:
        """Read `read=6000/minute, tune=600/minute`."""
        if not isinstance(value, str):
            return value
        if value.lower() == "none":
            return {}
        quotas = [quota.partition("=") for quota in value.split(",")]
        return {scope.strip().lower(): quota.strip() for scope, _, quota in quotas}

    @field_validator("rate_limits")
    @classmethod
    def _quotas(cls, value: dict[Scope, str]) -> dict[Scope, str]:
        for quota in value.values():
            if QUOTA.fullmatch(quota) is None:
                msg = "must be quotas such as read=6000/minute, tune=600/minute, or none"
                raise ValueError(msg)
        return value

    @field_validator("heartbeat_interval_s")
    @classmethod
    def _twice_a_lease(cls, value: float | None, info: ValidationInfo) -> float | None:
        lease_s = info.data.get("lease_s")
        if value is not None and lease_s is not None and value >= lease_s / 2:
            msg = f"must be less than half of {PREFIX}LEASE_S, which is {lease_s:g}"
            raise ValueError(msg)
        return value

    @field_validator("duckdb_memory_limit")
    @classmethod
    def _amount(cls, value: str) -> str:
        if MEMORY.fullmatch(value) is None:
            msg = "must be an amount such as 2GB, 512MiB or 50%"
            raise ValueError(msg)
        return value

    @field_validator("auth")
    @classmethod
    def _off_at_home_only(cls, value: str, info: ValidationInfo) -> str:
        host = info.data.get("host")
        if value == "off" and host is not None and not is_loopback(host):
            msg = f"may be off on a loopback address alone, and {PREFIX}HOST is {host}"
            raise ValueError(msg)
        return value

    @field_validator("auth", "overload", "log_level", "log_format", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def _from_json(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    try:
        named = json.loads(value)
    except json.JSONDecodeError as error:
        msg = f"is not JSON ({error.msg} at character {error.pos})"
        raise ValueError(msg) from error
    if not isinstance(named, dict):
        msg = f"must be a JSON object, as in {JSON_EXAMPLES[str(info.field_name)]}"
        raise ValueError(msg)
    return named


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_url(value: str) -> None:
    """Raises: ValueError, without the URL, for it may hold a password."""
    try:
        parts = urlsplit(value)
        is_wrong = parts.port == 0 or (parts.scheme == "unix" and not parts.path)
    except ValueError:
        is_wrong = True
    if is_wrong:
        msg = "is no URL: scheme://user:password@host:port/name, reserved characters of a password percent-encoded"
        raise ValueError(msg)


def load(*, env_file: Path | None = ENV_FILE, **given: Any) -> Settings:  # noqa: ANN401 - checked by Settings
    """The settings of this environment; what is `given` by name (not None) replaces a variable.

    Raises: InvalidSettings, which lists each wrong and each unknown variable.
    """
    problems = {name: "is not a setting; see .env.example" for name in _unknown(env_file)}
    try:
        settings = Settings(
            _env_file=env_file,
            _env_file_encoding="utf-8",
            **{name: value for name, value in given.items() if value is not None},
        )
    except ValidationError as error:
        problems |= {_variable(problem["loc"]): _text(problem["msg"]) for problem in error.errors()}
        raise InvalidSettings(problems) from None
    except UnicodeDecodeError as error:
        raise InvalidSettings({str(env_file): "is not UTF-8 text"}) from error
    if problems:
        raise InvalidSettings(problems)
    return settings


def _unknown(env_file: Path | None) -> list[str]:
    names = set(os.environ)
    if env_file is not None and env_file.is_file():
        try:
            names |= set(dotenv_values(env_file, encoding="utf-8"))
        except UnicodeDecodeError:
            return []  # Settings reads the same file and is told the same
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return [
        name
        for name in names
        if name.upper().startswith(PREFIX)
        and not name.upper().startswith(TEST_PREFIX)
        and name.upper() not in {*known, CLIENT_KEY}
    ]


def _variable(location: tuple[int | str, ...]) -> str:
    return f"{PREFIX}{str(location[0]).upper()}" if location else PREFIX


def _text(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
