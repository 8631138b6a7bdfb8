"""A child's environment holds what programs need to run, and nobody's credentials."""

from worker.environment import child_environment


def test_only_what_is_allowed_is_passed_on() -> None:
    given = {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "COVERAGE_PROCESS_START": "pyproject.toml",
        "SEGUE_DATABASE_URL": "postgresql://user:secret@host/db",
        "SEGUE_REDIS_URL": "redis://:secret@host",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PGPASSWORD": "secret",
    }
    seen = child_environment(given)
    assert seen.keys() >= {"PATH", "LC_ALL", "COVERAGE_PROCESS_START"}
    assert not [value for value in seen.values() if "secret" in value]


def test_a_child_computes_on_one_core_unless_its_request_says_more() -> None:
    assert child_environment({"OMP_NUM_THREADS": "64"})["OMP_NUM_THREADS"] == "1"
