"""What a study's results are worth: the verdict, which parameters mattered, and all trials as a file."""

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.api.authorizing import ScopedRoute
from app.api.dependencies import FromServices, StudyPath
from app.api.problems import problems
from app.api.schemas.importance import ImportanceView
from app.api.schemas.verdicts import VerdictReportView

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=ScopedRoute)

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"


@router.get("/{study_id}/verdict", summary="Judge a study", response_model=VerdictReportView, responses=problems(404))
def get_verdict(study_id: StudyPath, services: FromServices) -> VerdictReportView:
    """Whether the winner is better than gensim's defaults, by the test pairs, beside everything it was compared with.

    `improved` takes that it is above gensim's defaults and above the most popular songs, by every interval there is:
    on the same pairs, by the study's aggregate and in its scope, and over further training seeds where the study has
    `replicates`. Plain baselines do not decide; those that beat the winner are named.
    """
    return VerdictReportView.of(services.verdicts.of(study_id))


@router.get(
    "/{study_id}/importance",
    summary="See which parameters mattered",
    response_model=ImportanceView,
    responses=problems(404, 409),
)
def get_importance(study_id: StudyPath, services: FromServices) -> ImportanceView:
    """How much of the objective's variation each free parameter accounts for, by a surrogate fitted to the trials.

    Refused while there are fewer than 12 measured trials, or fewer than four for each free parameter.
    """
    return ImportanceView.of(services.importance.of(study_id))


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {**problems(404), 200: {"description": "The file.", "content": content}}


@router.get(
    "/{study_id}/export.csv", summary="Export a study as CSV", response_class=StreamingResponse, responses=_file(CSV)
)
def export_csv(study_id: StudyPath, services: FromServices) -> StreamingResponse:
    """Every trial with parameters, scores, intervals and times. Texts that look like formulas are quoted."""
    return _download(services.exports.export(study_id, "csv"), media_type=CSV, name=f"{study_id}.csv")


@router.get(
    "/{study_id}/export.parquet",
    summary="Export a study as Parquet",
    response_class=StreamingResponse,
    responses=_file(PARQUET),
)
def export_parquet(study_id: StudyPath, services: FromServices) -> StreamingResponse:
    """Every trial with parameters, scores, intervals and times."""
    return _download(services.exports.export(study_id, "parquet"), media_type=PARQUET, name=f"{study_id}.parquet")


def _download(body: Iterator[bytes], *, media_type: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(body, media_type=media_type, headers=headers)
