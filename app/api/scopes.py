"""What each operation asks of a key: the one table. A route that is not in it cannot be made."""

from app.domain.keys import Scope

OPEN = None
"""Anybody may call: what load balancers, scrapers and makers of clients ask, and nothing of what was ever stored."""

SCOPES: dict[str, Scope | None] = {
    # serve
    "GET /v1/songs": Scope.SERVE,
    "GET /v1/songs/{song_id:path}": Scope.SERVE,
    "GET /v1/songs/{song_id:path}/neighbours": Scope.SERVE,
    "POST /v1/songs/neighbours": Scope.SERVE,
    "GET /v1/users/{user_id:path}/recommendations": Scope.SERVE,
    "POST /v1/recommendations": Scope.SERVE,
    "POST /v1/recommendations/batch": Scope.SERVE,
    # events
    "POST /v1/plays": Scope.EVENTS,
    "POST /v1/experiments/{experiment_id}/exposures": Scope.EVENTS,
    # read
    "GET /v1/songs/{song_id:path}/catalogue": Scope.READ,
    "GET /v1/denials": Scope.READ,
    "GET /v1/users/{user_id:path}": Scope.READ,
    "GET /v1/users/{user_id:path}/plays": Scope.READ,
    "GET /v1/uploads/{upload_id}": Scope.READ,
    "GET /v1/sources": Scope.READ,
    "GET /v1/datasets": Scope.READ,
    "GET /v1/datasets/{dataset_id}": Scope.READ,
    "GET /v1/studies": Scope.READ,
    "GET /v1/studies/{study_id}": Scope.READ,
    "GET /v1/studies/{study_id}/trials": Scope.READ,
    "GET /v1/studies/{study_id}/inherited": Scope.READ,
    "GET /v1/studies/{study_id}/segments": Scope.READ,
    "GET /v1/studies/{study_id}/pareto": Scope.READ,
    "GET /v1/studies/{study_id}/verdict": Scope.READ,
    "GET /v1/studies/{study_id}/importance": Scope.READ,
    "GET /v1/studies/{study_id}/export.csv": Scope.READ,
    "GET /v1/studies/{study_id}/export.parquet": Scope.READ,
    "GET /v1/studies/{study_id}/transfers": Scope.READ,
    "GET /v1/studies/{study_id}/transfers/{transfer_id}": Scope.READ,
    "GET /v1/studies/{study_id}/events": Scope.READ,
    "GET /v1/trials/{trial_id}": Scope.READ,
    "GET /v1/models": Scope.READ,
    "GET /v1/models/{model_id}": Scope.READ,
    "GET /v1/aliases": Scope.READ,
    "GET /v1/aliases/{alias}": Scope.READ,
    "GET /v1/aliases/{alias}/history": Scope.READ,
    "GET /v1/aliases/{alias}/moves": Scope.READ,
    "GET /v1/aliases/{alias}/shadow": Scope.READ,
    "GET /v1/models/{model_id}/gates": Scope.READ,
    "GET /v1/models/{model_id}/diff": Scope.READ,
    "GET /v1/experiments/{experiment_id}/results": Scope.READ,
    "GET /v1/experiments/{experiment_id}/power": Scope.READ,
    "GET /v1/experiments/{experiment_id}/decision": Scope.READ,
    "GET /v1/retrainings": Scope.READ,
    "GET /v1/retrainings/{retraining_id}": Scope.READ,
    "GET /v1/experiments": Scope.READ,
    "GET /v1/experiments/{experiment_id}": Scope.READ,
    "GET /v1/experiments/{experiment_id}/assignment": Scope.READ,
    "GET /v1/experiments/{experiment_id}/preference": Scope.READ,
    "GET /v1/calibration": Scope.READ,
    # tune
    "POST /v1/uploads": Scope.TUNE,
    "POST /v1/datasets": Scope.TUNE,
    "POST /v1/studies": Scope.TUNE,
    "PATCH /v1/studies/{study_id}": Scope.TUNE,
    "DELETE /v1/studies/{study_id}": Scope.TUNE,
    "POST /v1/studies/{study_id}/cancel": Scope.TUNE,
    "POST /v1/studies/{study_id}/pause": Scope.TUNE,
    "POST /v1/studies/{study_id}/resume": Scope.TUNE,
    "POST /v1/studies/{study_id}/extend": Scope.TUNE,
    "POST /v1/studies/{study_id}/clone": Scope.TUNE,
    "POST /v1/studies/{study_id}/transfer": Scope.TUNE,
    "POST /v1/studies/{study_id}/segments/{segment}/study": Scope.TUNE,
    "POST /v1/studies/{study_id}/trials": Scope.TUNE,
    "POST /v1/studies/{study_id}/trials/ask": Scope.TUNE,
    "POST /v1/trials/{trial_id}/heartbeat": Scope.TUNE,
    "POST /v1/trials/{trial_id}/measurements": Scope.TUNE,
    "POST /v1/trials/{trial_id}/complete": Scope.TUNE,
    "POST /v1/trials/{trial_id}/fail": Scope.TUNE,
    # promote
    "POST /v1/studies/{study_id}/promote": Scope.PROMOTE,
    "POST /v1/models/{model_id}/neighbours": Scope.PROMOTE,
    "PUT /v1/aliases/{alias}": Scope.PROMOTE,
    "POST /v1/aliases/{alias}/rollback": Scope.PROMOTE,
    "PUT /v1/aliases/{alias}/shadow": Scope.PROMOTE,
    "DELETE /v1/aliases/{alias}/shadow": Scope.PROMOTE,
    "POST /v1/retrain": Scope.PROMOTE,
    "POST /v1/experiments": Scope.PROMOTE,
    "PATCH /v1/experiments/{experiment_id}": Scope.PROMOTE,
    "DELETE /v1/experiments/{experiment_id}": Scope.PROMOTE,
    "POST /v1/experiments/{experiment_id}/start": Scope.PROMOTE,
    "POST /v1/experiments/{experiment_id}/pause": Scope.PROMOTE,
    "POST /v1/experiments/{experiment_id}/resume": Scope.PROMOTE,
    "POST /v1/experiments/{experiment_id}/stop": Scope.PROMOTE,
    "POST /v1/experiments/{experiment_id}/decide": Scope.PROMOTE,
    # admin
    "PUT /v1/songs/{song_id:path}": Scope.ADMIN,
    "PATCH /v1/songs/{song_id:path}": Scope.ADMIN,
    "DELETE /v1/songs/{song_id:path}": Scope.ADMIN,
    "POST /v1/songs": Scope.ADMIN,
    "PUT /v1/songs/{song_id:path}/denial": Scope.ADMIN,
    "DELETE /v1/songs/{song_id:path}/denial": Scope.ADMIN,
    "POST /v1/denials": Scope.ADMIN,
    "POST /v1/denials/delete": Scope.ADMIN,
    "DELETE /v1/users/{user_id:path}": Scope.ADMIN,
    "POST /v1/keys": Scope.ADMIN,
    "GET /v1/keys": Scope.ADMIN,
    "GET /v1/keys/{key_id}": Scope.ADMIN,
    "DELETE /v1/keys/{key_id}": Scope.ADMIN,
    # open; /metrics and /openapi.json, which are no operations, are too
    "GET /health/live": OPEN,
    "GET /health/ready": OPEN,
}


def scope_of(method: str, path: str) -> Scope | None:
    """What an operation needs; None when anybody may call. Raises: LookupError for one that the table does not have."""
    operation = f"{method} {path}"
    if operation not in SCOPES:
        msg = f"{operation} has no scope: say in app/api/scopes.py who may call it."
        raise LookupError(msg)
    return SCOPES[operation]
