"""Reports: what clients measured by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic.config import JsonDict

from app.api.schemas.base import NO_CONTROL_CHARACTERS, Body
from app.domain.errors import InvalidRequest
from app.domain.tuning.reporting import Report, Reported

MAX_SEGMENTS = 1_000

MAX_PAIRS = 2**31 - 1

EXAMPLE_REPORT: JsonDict = {
    "hit_ratio": 0.31,
    "ndcg": 0.19,
    "n_pairs": 1520,
    "segments": {"ar": {"hit_ratio": 0.28, "ndcg": 0.17, "n_pairs": 610}},
}

SegmentName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=NO_CONTROL_CHARACTERS)]


@contextmanager
def pointing_below(pointer: str) -> Iterator[None]:
    """Have the domain's refusals, which point into a part of the body, point to where the body has that part."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(str(error), pointer=f"{pointer}{error.pointer}") from error


class ReportedBody(Body):
    """Means over the validation pairs: the study's objective, or HR@k and NDCG@k, of which it is made."""

    objective: float | None = Field(default=None, ge=0, le=1)
    hit_ratio: float | None = Field(default=None, ge=0, le=1, description="HR@k, with the study's k.")
    ndcg: float | None = Field(default=None, ge=0, le=1, description="NDCG@k, with the study's k.")
    n_pairs: int = Field(ge=1, le=MAX_PAIRS, description="Pairs that were measured; the intervals are made of it.")
    n_unknown_query: int = Field(default=0, ge=0, le=MAX_PAIRS)
    n_unknown_target: int = Field(default=0, ge=0, le=MAX_PAIRS)
    n_repeats: int = Field(default=0, ge=0, le=MAX_PAIRS)

    def reported(self) -> Reported:
        """The domain's value. Raises: InvalidRequest, which points into this part of the body."""
        return Reported(
            n_pairs=self.n_pairs,
            objective=self.objective,
            hit_ratio=self.hit_ratio,
            ndcg=self.ndcg,
            n_unknown_query=self.n_unknown_query,
            n_unknown_target=self.n_unknown_target,
            n_repeats=self.n_repeats,
        )


class ReportBody(ReportedBody):
    """A measurement: overall and by segment, and what was recommended.

    What the study's objectives and constraints look at has to be told, the rest may be.
    """

    segments: dict[SegmentName, ReportedBody] = Field(default_factory=dict, max_length=MAX_SEGMENTS)
    coverage: float | None = Field(default=None, ge=0, le=1, description="Share of the songs that are recommended.")
    popularity: float | None = Field(default=None, ge=0, le=1, description="Of what is recommended, on average.")
    artist_share: float | None = Field(
        default=None, ge=0, le=1, description="How often two songs of one list have the same artist."
    )

    def report(self, *, pointer: str) -> Report:
        """The domain's value; `pointer` is where the body has it. Raises: InvalidRequest."""
        with pointing_below(pointer):
            overall = self.reported()
        segments = {}
        for name, body in self.segments.items():
            escaped = name.replace("~", "~0").replace("/", "~1")
            with pointing_below(f"{pointer}/segments/{escaped}"):
                segments[name] = body.reported()
        return Report(
            overall=overall,
            segments=segments,
            coverage=self.coverage,
            popularity=self.popularity,
            artist_share=self.artist_share,
        )


class CostsBody(Body):
    """What a finished trial took, as constraints may look at."""

    train_s: float | None = Field(default=None, ge=0, le=1e9, description="Seconds that training took.")
    evaluate_s: float | None = Field(default=None, ge=0, le=1e9, description="Seconds that measuring took.")
    model_bytes: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="Bytes of the vectors that a model of it would serve from."
    )

    def with_costs(self, report: Report) -> Report:
        """The report with what is given."""
        seconds = {"train": self.train_s, "evaluate": self.evaluate_s}
        told = {phase: spent for phase, spent in seconds.items() if spent is not None}
        return replace(report, times_s=told, model_bytes=self.model_bytes)
