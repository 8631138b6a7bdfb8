"""What the routers share: the services, idempotency keys, preconditions, and answers to what was created."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Header, Path, Request, Response

from app.api.authorizing import KEY_ID, Hit, KeyScopes
from app.api.following import Following
from app.api.problems import Refused
from app.api.schemas.base import AliasName, PathIdentifier, ResourceId, View
from app.domain.keys import Scope
from app.domain.serving import ServingStatus
from app.services.aliases import AliasService
from app.services.asking import AskingService
from app.services.calibrating import CalibrationService
from app.services.catalogue import CatalogueService
from app.services.comparing import ComparisonService
from app.services.datasets import DatasetService
from app.services.differences import DifferenceService
from app.services.experiment_results import ExperimentResultsService
from app.services.experiments import ExperimentService
from app.services.exporting import ExportService
from app.services.exposing import ExposingService
from app.services.exposures import ExposureService
from app.services.gating import GateService
from app.services.idempotency import Idempotency, Replay
from app.services.importance import ImportanceService
from app.services.interleaving import InterleavingService
from app.services.keys import KeyService
from app.services.models import ModelService
from app.services.neighbour_tables import TableService
from app.services.own_trials import OwnTrialService
from app.services.plays import PlayService
from app.services.recommending import RecommendingService
from app.services.retraining import RetrainingService
from app.services.serving import ServingService
from app.services.shadowing import ShadowService
from app.services.studies import StudyService
from app.services.study_life import StudyLife
from app.services.transfers import TransferService
from app.services.users import UserService
from app.services.verdicts import VerdictService
from app.services.warm_starting import WarmStartService

T = TypeVar("T")

ENTITY_TAG = re.compile(r'"(0|[1-9][0-9]{0,8})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the routers reach the core through.

    `poke` has this server look at the aliases now, `keys_changed` at the keys; `key_scopes` is None where keys are off.
    """

    datasets: DatasetService
    studies: StudyService
    own_trials: OwnTrialService
    asking: AskingService
    warm_starts: WarmStartService
    comparisons: ComparisonService
    life: StudyLife
    verdicts: VerdictService
    importance: ImportanceService
    exports: ExportService
    transfers: TransferService
    following: Following
    models: ModelService
    aliases: AliasService
    gates: GateService
    shadows: ShadowService
    experiments: ExperimentService
    exposing: ExposingService
    exposures: ExposureService
    interleaving: InterleavingService
    calibration: CalibrationService
    retrainings: RetrainingService
    differences: DifferenceService
    experiment_results: ExperimentResultsService
    tables: TableService
    serving: ServingService
    recommending: RecommendingService
    plays: PlayService
    catalogue: CatalogueService
    keys: KeyService
    key_scopes: KeyScopes | None
    keys_changed: Callable[[], None]
    hit: Hit
    limited_scopes: frozenset[Scope]
    users: UserService
    status: Callable[[], ServingStatus]
    poke: Callable[[], None]
    max_upload_bytes: int
    max_body_bytes: int


async def services_of(request: Request) -> Services:
    """The app's services; async, for otherwise it would be run in a thread of its own."""
    services: Services = request.app.state.services
    return services


FromServices = Annotated[Services, Depends(services_of)]


async def caller_of(request: Request) -> str | None:
    """The id of the key that the request was allowed by, for the audit trail; None where keys are off."""
    found: str | None = request.scope.get(KEY_ID)
    return found


FromCaller = Annotated[str | None, Depends(caller_of)]

DatasetPath = Annotated[ResourceId, Path(description="The dataset's id.")]
TransferPath = Annotated[ResourceId, Path(description="The transfer's id.")]
StudyPath = Annotated[ResourceId, Path(description="The study's id.")]
TrialPath = Annotated[ResourceId, Path(description="The trial's id.")]
ModelPath = Annotated[ResourceId, Path(description="The model's id.")]
UploadPath = Annotated[ResourceId, Path(description="The upload's id.")]
ExperimentPath = Annotated[ResourceId, Path(description="The experiment's id.")]
AliasPath = Annotated[AliasName, Path(description="The alias.")]
SongPath = Annotated[PathIdentifier, Path(description="The song's id, percent-encoded.")]
SegmentPath = Annotated[PathIdentifier, Path(description="The segment's name, percent-encoded.")]
UserPath = Annotated[PathIdentifier, Path(description="The user's id, percent-encoded.")]


# Idempotency


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A client's key and a hash of the whole request it came with."""

    key: str
    request_sha256: str

    def once(self, view: Callable[[T], View]) -> Idempotency[T]:
        """The service's value, given how the answer is shown."""
        return Idempotency(self.key, self.request_sha256, lambda value: view(value).model_dump(mode="json"))


KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x20-\x7e]{1,255}$",
        description="The same key gives the same answer; it may be sent again when no answer came.",
    ),
]


async def request_key(request: Request, idempotency_key: KeyHeader = None) -> RequestKey | None:
    """The key of a request with a JSON body or none, None without one."""
    if idempotency_key is None:
        return None
    says = await request.json() if await request.body() else None
    body = json.dumps(says, sort_keys=True, separators=(",", ":"))
    return RequestKey(idempotency_key, request_sha256(request, body))


def request_sha256(request: Request, body: str) -> str:
    """A hash of method, path and canonical body, in hexadecimal."""
    parts = (request.method, request.scope["path"], body)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


FromKey = Annotated[RequestKey | None, Depends(request_key)]


def answered(found: T | Replay, view: Callable[[T], View], *, status: HTTPStatus, collection: str) -> Response:
    """What was created, or the answer of the first time, with its place in the collection."""
    answer = _answer(found, view)
    return _at(f"{collection}/{answer['id']}", answer, status)


def answered_in(found: T | Replay, view: Callable[[T], View], *, status: HTTPStatus, collection: str) -> Response:
    """The same of several things, with the collection as their place."""
    return _at(collection, _answer(found, view), status)


def _answer(found: T | Replay, view: Callable[[T], View]) -> dict[str, Any]:
    return found.answer if isinstance(found, Replay) else view(found).model_dump(mode="json")


def _at(location: str, answer: dict[str, Any], status: HTTPStatus) -> Response:
    return Response(orjson.dumps(answer), status, headers={"Location": location}, media_type="application/json")


LOCATION: dict[str, Any] = {
    "headers": {"Location": {"description": "Where it is.", "required": True, "schema": {"type": "string"}}}
}


def version_tag(of: str) -> dict[str, Any]:
    """The ETag of an answer, for its description."""
    told = {"description": f"The {of}'s version.", "required": True, "schema": {"type": "string"}}
    return {"headers": {"ETag": told}}


VERSION_TAG = version_tag("study")


# Preconditions


MatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description='The generation that the alias must be at, such as `"3"`, `"0"` for none yet, or `*` for any.',
        max_length=64,
    ),
]


StudyMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description='The version that the study must be at, such as `"3"`, or `*` for any; its `ETag` tells.',
        max_length=64,
    ),
]


ExperimentMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description='The version that the experiment must be at, such as `"3"`, or `*` for any; its `ETag` tells.',
        max_length=64,
    ),
]


def generation_wanted(if_match: str | None, *, of: str = "alias") -> int | None:
    """The generation or version that `If-Match` names; None for no condition. Raises: Refused."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = ENTITY_TAG.fullmatch(if_match.strip())
    if found is None:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            code="invalid_request",
            detail=f'If-Match must be one ETag of the {of}, such as "3", or *.',
            pointer="If-Match",
        )
    return int(found[1])
