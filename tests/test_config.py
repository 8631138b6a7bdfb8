"""Settings: read once, checked whole, explained by the names of their variables."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from dotenv import dotenv_values

from app.config import PREFIX, InvalidSettings, Settings, load
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings_of(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    return load()


def problems_of(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidSettings) as caught:
        settings_of(monkeypatch, variables)
    return caught.value.problems


def test_defaults_need_no_variable_and_name_a_database_in_the_data_folder(tmp_path: Path) -> None:
    settings = load()
    assert settings.data_dir == tmp_path / ".segue"
    assert settings.database_url == f"sqlite:///{tmp_path}/.segue/segue.db"
    assert settings.redis_url is None
    assert settings.sources == {}
    assert settings.lease_s == 30


def test_the_database_follows_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(monkeypatch, {"DATA_DIR": str(tmp_path / "elsewhere")})
    assert settings.database_url == f"sqlite:///{tmp_path}/elsewhere/segue.db"


@pytest.mark.parametrize(
    "given",
    ["postgres://u:p@h:5432/d", "postgresql://u:p@h:5432/d", "postgresql+psycopg://u:p@h:5432/d"],
)
def test_postgresql_urls_get_the_driver(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    assert settings_of(monkeypatch, {"DATABASE_URL": given}).database_url == "postgresql+psycopg://u:p@h:5432/d"


def test_relative_sqlite_files_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert settings_of(monkeypatch, {"DATABASE_URL": "sqlite:///a.db"}).database_url == f"sqlite:///{tmp_path}/a.db"


def test_absolute_sqlite_files_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, {"DATABASE_URL": "sqlite:////srv/a.db?timeout=3"})
    assert settings.database_url == "sqlite:////srv/a.db?timeout=3"


def test_sizes_may_have_units(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, {"MAX_UPLOAD_BYTES": "3GiB", "CHILD_MEMORY_BYTES": "536870912"})
    assert settings.max_upload_bytes == 3 * 1024**3
    assert settings.child_memory_bytes == 512 * 1024**2


def test_sources_are_named_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(monkeypatch, {"SOURCES": '{"plays": "/srv/p.parquet", "songs": "s.csv"}'})
    assert settings.sources == {"plays": Path("/srv/p.parquet"), "songs": tmp_path / "s.csv"}


def test_the_times_of_a_lease_are_set_together(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"LEASE_S": "4", "HEARTBEAT_INTERVAL_S": "1.9", "REAP_INTERVAL_S": "1", "POLL_INTERVAL_S": "0.5"}
    settings = settings_of(monkeypatch, given)
    assert (settings.lease_s, settings.heartbeat_interval_s) == (4, 1.9)
    assert (settings.reap_interval_s, settings.poll_interval_s) == (1, 0.5)


def test_levels_are_taken_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(monkeypatch, {"LOG_LEVEL": "WARNING"}).log_level == "warning"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_keys_may_be_off_on_a_loopback_address(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert settings_of(monkeypatch, {"AUTH": "off", "HOST": host}).auth == "off"


@pytest.mark.parametrize("host", ["192.0.2.1", "::", "segue.example", "localhost.example"])
def test_keys_may_be_off_on_no_other(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    problems = problems_of(monkeypatch, {"AUTH": "off", "HOST": host})
    assert problems == {"SEGUE_AUTH": f"may be off on a loopback address alone, and SEGUE_HOST is {host}"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("none", {}),
        ("serve=9/second", {"serve": "9/second"}),
        (" Read = 1/day ,tune=2/hour", {"read": "1/day", "tune": "2/hour"}),
    ],
)
def test_quotas_are_by_scope(monkeypatch: pytest.MonkeyPatch, given: str, wanted: dict[str, str]) -> None:
    assert settings_of(monkeypatch, {"RATE_LIMITS": given}).rate_limits == wanted


def test_the_key_of_a_caller_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_KEY", "segue_secret")
    assert "segue_secret" not in repr(load())


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, {"REDIS_URL": "", "PORT": "", "DATABASE_URL": ""})
    assert settings.redis_url is None
    assert settings.port == 8000
    assert settings.database_url.startswith("sqlite:///")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "mysql://u:secret@h/d", "must begin with"),
        ("DATABASE_URL", "sqlite://", "name a file"),
        ("DATABASE_URL", "sqlite:///:memory:", "name a file"),
        ("DATABASE_URL", "postgresql://u:sec/ret@h/d", "is no URL"),
        ("DATABASE_URL", "postgresql://h:0/d", "is no URL"),
        ("REDIS_URL", "http://h", "must begin with"),
        ("REDIS_URL", "redis://h:port", "is no URL"),
        ("REDIS_URL", "unix://", "is no URL"),
        ("SOURCES", "{", "is not JSON"),
        ("SOURCES", "[]", "must be a JSON object"),
        ("SOURCES", '{"../plays": "/p"}', "is no name"),
        ("SOURCES", '{"plays": 3}', "path"),
        ("PORT", "eighty", "integer"),
        ("PORT", "70000", "65535"),
        ("HOST", " ", "at least 1 character"),
        ("AUTH", "on", "'keys' or 'off'"),
        ("RATE_LIMITS", "read", "must be quotas"),
        ("RATE_LIMITS", "read=lots", "must be quotas"),
        ("RATE_LIMITS", "everything=1/minute", "read"),
        ("KEYS_OUTLIVE_S", "-1", "greater than or equal to 0"),
        ("LEASE_S", "0", "greater than or equal to 1"),
        ("LEASE_S", "nan", "3600"),
        ("HEARTBEAT_INTERVAL_S", "15", "must be less than half of SEGUE_LEASE_S, which is 30"),
        ("HEARTBEAT_INTERVAL_S", "0", "greater than or equal to 0.05"),
        ("REAP_INTERVAL_S", "61", "less than or equal to 60"),
        ("GRACE_S", "inf", "3600"),
        ("WORKER_SLOTS", "-1", "greater than or equal to 0"),
        ("CHILD_MEMORY_BYTES", "1MiB", "greater than or equal to"),
        ("MAX_UPLOAD_BYTES", "much", "byte"),
        ("DUCKDB_MEMORY_LIMIT", "2GB'; drop", "must be an amount"),
        ("LOG_LEVEL", "loud", "debug"),
        ("LOG_FORMAT", "xml", "json"),
    ],
)
def test_a_wrong_value_is_explained_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    problems = problems_of(monkeypatch, {name: value})
    assert list(problems) == [f"{PREFIX}{name}"]
    assert said in problems[f"{PREFIX}{name}"]


def test_every_problem_is_listed_and_no_secret_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSettings) as caught:
        settings_of(
            monkeypatch, {"PORT": "x", "LEASE_S": "0", "DATABSE_URL": "y", "DATABASE_URL": "my://u:secret@host/d"}
        )
    text = str(caught.value)
    assert text.splitlines()[0] == "The settings are wrong:"
    for name in ("SEGUE_PORT", "SEGUE_LEASE_S", "SEGUE_DATABSE_URL", "SEGUE_DATABASE_URL"):
        assert f"\n  {name}: " in text
    assert "secret" not in text


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems_of(monkeypatch, {"REDIS": "redis://h"}) == {"SEGUE_REDIS": "is not a setting; see .env.example"}


def test_variables_of_the_tests_and_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_TEST_DATABASE_URL", "anything")
    monkeypatch.setenv("SEGUETTE", "anything")
    assert load().port == 8000


def test_a_file_sets_what_the_environment_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        'SEGUE_PORT=1234\nSEGUE_HOST=0.0.0.0\nSEGUE_SOURCES={"plays": "/p.csv"}\nPOSTGRES_PASSWORD=other\n'
    )
    settings = settings_of(monkeypatch, {"PORT": "99"})
    assert (settings.port, settings.host) == (99, "0.0.0.0")  # noqa: S104 - a value, nothing listens
    assert settings.sources == {"plays": Path("/p.csv")}


def test_a_misspelt_variable_of_the_file_is_refused() -> None:
    Path(".env").write_text("SEGUE_PROT=1\n")
    with pytest.raises(InvalidSettings, match="SEGUE_PROT"):
        load()


def test_a_file_that_is_no_text_is_refused() -> None:
    Path(".env").write_bytes(b"SEGUE_PORT=\xff\xfe\n")
    with pytest.raises(InvalidSettings, match="UTF-8"):
        load()


def test_what_a_command_line_gives_replaces_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_PORT", "1")
    settings = load(port=2, host=None)
    assert (settings.port, settings.host) == (2, "127.0.0.1")


def test_settings_never_show_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(
        monkeypatch, {"DATABASE_URL": "postgresql://u:secret@h/d", "REDIS_URL": "redis://:secret@h/0"}
    )
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings)


def test_the_example_file_names_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    Path("example").write_text(text.replace("#SEGUE_", "SEGUE_"), encoding="utf-8")
    named = dotenv_values("example")
    assert set(named) == {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    from_example = load(env_file=Path("example"))
    has_example_only = {
        "database_url",
        "redis_url",
        "sources",
        "heartbeat_interval_s",
        "reap_interval_s",
        "worker_slots",
        "child_memory_bytes",
        "duckdb_threads",
    }
    assert from_example.model_dump(exclude=has_example_only) == load().model_dump(exclude=has_example_only)
