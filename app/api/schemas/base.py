"""What all schemas share: strict bodies, strict parameters, views, and the kinds of text that ids are."""

from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from app.domain.experiments.experiment import LIVE_NAME
from app.domain.lease import Failure, Progress
from app.domain.listening import MAX_ID_LENGTH

T = TypeVar("T")

ENCODED_SLASH = "\udc2f"
"""What the server puts in a path for `%2F`, which no decoded path can hold, so that it does not part the path."""

NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f-\x9f]+$"

LATEST_SEED = 2**31 - 1


def _slashes(value: object) -> object:
    return value.replace(ENCODED_SLASH, "/") if isinstance(value, str) else value


Identifier = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=NO_CONTROL_CHARACTERS)]
"""The user's own id of a song, user, or event."""

PathIdentifier = Annotated[Identifier, BeforeValidator(_slashes)]
"""The same in a path, percent-encoded."""

ResourceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""An id that the server made."""


def _no_variant(name: str) -> str:
    if LIVE_NAME.fullmatch(name) is not None:
        msg = "A variant of an experiment is no alias: ask within the experiment"
        raise ValueError(msg)
    return name


AliasName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$"), AfterValidator(_no_variant)]

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROL_CHARACTERS)]
"""A name for people to read."""


class Body(BaseModel):
    """A body: no unknown field, and no text where a number belongs."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Parameters(BaseModel):
    """Query parameters: no unknown one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageParameters(Parameters):
    """Which page of a list."""

    limit: int = Field(default=50, ge=1, le=200, description="Most entries of the page.")
    cursor: ResourceId | None = Field(default=None, description="`next_cursor` of the page before.")


class PageView(View, Generic[T]):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None = Field(description="Ask for the next page with it; null on the last.")


class ProgressView(View):
    """How far the work is."""

    phase: str = Field(examples=["train"])
    fraction: float = Field(ge=0, le=1, examples=[0.4])
    epoch: int | None = None

    @classmethod
    def of(cls, progress: Progress | None) -> "ProgressView | None":
        """The view, None where nothing was reported yet."""
        if progress is None:
            return None
        return cls(phase=progress.phase, fraction=progress.fraction, epoch=progress.epoch)


class FailureView(View):
    """Why something failed."""

    code: str = Field(examples=["invalid_source"])
    reason: str = Field(examples=["plays.csv: 12 rows have no song_id."])

    @classmethod
    def of(cls, failure: Failure | None) -> "FailureView | None":
        """The view, None where nothing failed."""
        return None if failure is None else cls(code=failure.code, reason=failure.reason)
