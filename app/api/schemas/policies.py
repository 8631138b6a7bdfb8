"""When a study stops, and how often its trials are tried."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.api.schemas.base import Body
from app.domain.tuning import retry, stopping
from app.domain.tuning.retry import FailureKind, RetryPolicy
from app.domain.tuning.stopping import NoImprovement, Stopping

DEFAULT_RETRY = RetryPolicy()


class NoImprovementBody(Body):
    """The last `n_trials` that ended raised the best objective by `min_delta` or less."""

    n_trials: int = Field(ge=1, le=stopping.MAX_TRIALS)
    min_delta: float = Field(default=0.0, ge=0, le=1)


class StoppingBody(Body):
    """Rules, any of which lets a study begin no further trial; those under way finish, and the winner is confirmed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"max_run_s": 3600.0, "no_improvement": {"n_trials": 10, "min_delta": 0.001}, "target": 0.3}]
        }
    )

    max_trials: int | None = Field(
        default=None, ge=1, le=stopping.MAX_TRIALS, description="So many trials of the search were begun."
    )
    max_run_s: float | None = Field(
        default=None,
        ge=1,
        le=stopping.LONGEST_RUN_S,
        description="The study has run so many seconds, those it was queued or paused not counted.",
    )
    no_improvement: NoImprovementBody | None = None
    target: float | None = Field(default=None, ge=0, le=1, description="The best objective is at least this.")
    min_expected_improvement: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="No next point is expected to improve the best by this share of the noise floor, which is the "
        "standard error of the best trial's objective. Not for random search.",
    )

    def value(self) -> Stopping:
        """The domain's value. Raises: InvalidRequest."""
        rule = self.no_improvement
        return Stopping(
            max_trials=self.max_trials,
            max_run_s=self.max_run_s,
            no_improvement=None if rule is None else NoImprovement(n_trials=rule.n_trials, min_delta=rule.min_delta),
            target=self.target,
            min_expected_improvement=self.min_expected_improvement,
        )

    @classmethod
    def of(cls, rules: Stopping) -> "StoppingBody":
        """As a client would write it."""
        rule = rules.no_improvement
        return cls(
            max_trials=rules.max_trials,
            max_run_s=rules.max_run_s,
            no_improvement=None
            if rule is None
            else NoImprovementBody(n_trials=rule.n_trials, min_delta=rule.min_delta),
            target=rules.target,
            min_expected_improvement=rules.min_expected_improvement,
        )


def _false(value: object) -> object:
    if value is not False:
        raise PydanticCustomError("no_attempts", "Input should be a number of attempts, or false for no second one")
    return value


Attempts = Annotated[int, Field(ge=1, le=retry.MAX_ATTEMPTS)] | Annotated[Literal[False], BeforeValidator(_false)]


class AttemptsBody(Body):
    """How many attempts may end in each kind of failure before the trial has failed; `false`: the first is the last.

    A kind that is not named shares the study's `max_attempts` with the others that are not.
    """

    failed: Attempts | None = Field(default=None, description="It crashed or went wrong.")
    timed_out: Attempts | None = None
    out_of_memory: Attempts | None = None
    lost: Attempts | None = Field(default=None, description="Its worker stopped reporting.")


class RetryBody(Body):
    """What happens to a trial after a failed attempt.

    Attempt n + 1 waits min(`max_backoff_s`, `backoff_s` * `backoff_factor` ^ (n - 1)) seconds.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"backoff_s": 5.0, "on": {"out_of_memory": False, "lost": 10}}]}
    )

    backoff_s: float = Field(default=DEFAULT_RETRY.backoff_s, ge=0, le=retry.LONGEST_BACKOFF_S)
    backoff_factor: float = Field(default=DEFAULT_RETRY.backoff_factor, ge=1, le=retry.MAX_FACTOR)
    max_backoff_s: float = Field(default=DEFAULT_RETRY.max_backoff_s, ge=0, le=retry.LONGEST_BACKOFF_S)
    on: AttemptsBody = AttemptsBody()
    abort_after: int | None = Field(
        default=None,
        ge=1,
        le=retry.MAX_ABORT_AFTER,
        description="The study fails at once when so many trials have ended, all in the same failure.",
    )

    def value(self) -> RetryPolicy:
        """The domain's value. Raises: InvalidRequest."""
        named = {kind: getattr(self.on, kind.value) for kind in FailureKind}
        return RetryPolicy(
            backoff_s=self.backoff_s,
            backoff_factor=self.backoff_factor,
            max_backoff_s=self.max_backoff_s,
            on={kind: max(1, int(n)) for kind, n in named.items() if n is not None},
            abort_after=self.abort_after,
        )

    @classmethod
    def of(cls, policy: RetryPolicy) -> "RetryBody":
        """As a client would write it."""
        return cls(
            backoff_s=policy.backoff_s,
            backoff_factor=policy.backoff_factor,
            max_backoff_s=policy.max_backoff_s,
            on=AttemptsBody(**{kind.value: n for kind, n in policy.on.items()}),
            abort_after=policy.abort_after,
        )
