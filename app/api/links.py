"""What to ask next of what an operation made: the links of the description, the one table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ID = "$response.body#/id"


@dataclass(frozen=True, slots=True)
class Linked:
    """Operations that take what another one answered or was asked with, by the parameters that they take it as."""

    parameters: Mapping[str, str]
    operations: tuple[str, ...]


OF_STUDY = Linked(
    {"study_id": ID},
    (
        "GET /v1/studies/{study_id}",
        "PATCH /v1/studies/{study_id}",
        "DELETE /v1/studies/{study_id}",
        "GET /v1/studies/{study_id}/trials",
        "POST /v1/studies/{study_id}/trials",
        "POST /v1/studies/{study_id}/trials/ask",
        "POST /v1/studies/{study_id}/pause",
        "POST /v1/studies/{study_id}/resume",
        "POST /v1/studies/{study_id}/cancel",
        "POST /v1/studies/{study_id}/extend",
        "POST /v1/studies/{study_id}/clone",
        "POST /v1/studies/{study_id}/promote",
        "GET /v1/studies/{study_id}/verdict",
        "GET /v1/studies/{study_id}/importance",
        "GET /v1/studies/{study_id}/segments",
        "GET /v1/studies/{study_id}/transfers",
        "GET /v1/studies/{study_id}/export.csv",
    ),
)

OF_MODEL = Linked(
    {"model_id": ID},
    ("GET /v1/models/{model_id}", "GET /v1/models/{model_id}/gates", "POST /v1/models/{model_id}/neighbours"),
)

LINKS: dict[str, tuple[Linked, ...]] = {
    "POST /v1/uploads": (Linked({"upload_id": ID}, ("GET /v1/uploads/{upload_id}",)),),
    "POST /v1/datasets": (Linked({"dataset_id": ID}, ("GET /v1/datasets/{dataset_id}",)),),
    "POST /v1/studies": (OF_STUDY,),
    "POST /v1/studies/{study_id}/clone": (OF_STUDY,),
    "POST /v1/studies/{study_id}/segments/{segment}/study": (OF_STUDY,),
    "POST /v1/studies/{study_id}/trials/ask": (
        Linked(
            {"trial_id": "$response.body#/trial/id", "Lease-Token": "$response.body#/lease_token"},
            (
                "POST /v1/trials/{trial_id}/heartbeat",
                "POST /v1/trials/{trial_id}/measurements",
                "POST /v1/trials/{trial_id}/complete",
                "POST /v1/trials/{trial_id}/fail",
            ),
        ),
        Linked({"trial_id": "$response.body#/trial/id"}, ("GET /v1/trials/{trial_id}",)),
    ),
    "POST /v1/studies/{study_id}/promote": (OF_MODEL,),
    "POST /v1/studies/{study_id}/transfer": (
        Linked(
            {"study_id": "$request.path.study_id", "transfer_id": ID},
            ("GET /v1/studies/{study_id}/transfers/{transfer_id}",),
        ),
    ),
    "PUT /v1/aliases/{alias}": (
        Linked(
            {"alias": "$request.path.alias"},
            (
                "GET /v1/aliases/{alias}",
                "GET /v1/aliases/{alias}/history",
                "GET /v1/aliases/{alias}/moves",
                "PUT /v1/aliases/{alias}/shadow",
                "POST /v1/aliases/{alias}/rollback",
            ),
        ),
    ),
    "PUT /v1/aliases/{alias}/shadow": (
        Linked(
            {"alias": "$request.path.alias"}, ("GET /v1/aliases/{alias}/shadow", "DELETE /v1/aliases/{alias}/shadow")
        ),
    ),
    "PUT /v1/songs/{song_id}": (
        Linked(
            {"song_id": "$request.path.song_id"},
            (
                "GET /v1/songs/{song_id}/catalogue",
                "PATCH /v1/songs/{song_id}",
                "DELETE /v1/songs/{song_id}",
                "PUT /v1/songs/{song_id}/denial",
            ),
        ),
    ),
    "PUT /v1/songs/{song_id}/denial": (
        Linked({"song_id": "$request.path.song_id"}, ("DELETE /v1/songs/{song_id}/denial",)),
    ),
    "POST /v1/experiments": (
        Linked(
            {"experiment_id": ID},
            (
                "GET /v1/experiments/{experiment_id}",
                "PATCH /v1/experiments/{experiment_id}",
                "DELETE /v1/experiments/{experiment_id}",
                "POST /v1/experiments/{experiment_id}/start",
                "POST /v1/experiments/{experiment_id}/pause",
                "POST /v1/experiments/{experiment_id}/resume",
                "POST /v1/experiments/{experiment_id}/stop",
                "POST /v1/experiments/{experiment_id}/decide",
                "POST /v1/experiments/{experiment_id}/exposures",
                "GET /v1/experiments/{experiment_id}/results",
                "GET /v1/experiments/{experiment_id}/decision",
            ),
        ),
    ),
    "POST /v1/retrain": (Linked({"retraining_id": ID}, ("GET /v1/retrainings/{retraining_id}",)),),
    "POST /v1/keys": (Linked({"key_id": ID}, ("GET /v1/keys/{key_id}", "DELETE /v1/keys/{key_id}")),),
}


def with_links(schema: dict[str, Any]) -> dict[str, Any]:
    """The description with its links, each in the answer of the operation that it begins at."""
    for operation, linked in LINKS.items():
        responses = _described(schema, operation)["responses"]
        success = next(responses[status] for status in responses if status.startswith("2"))
        success["links"] = dict(_links(schema, linked))
    return schema


def _links(schema: dict[str, Any], linked: tuple[Linked, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for link in linked:
        for operation in link.operations:
            operation_id = _described(schema, operation)["operationId"]
            yield operation_id, {"operationId": operation_id, "parameters": dict(link.parameters)}


def _described(schema: dict[str, Any], operation: str) -> dict[str, Any]:
    method, _, path = operation.partition(" ")
    described: dict[str, Any] = schema["paths"][path][method.lower()]
    return described
