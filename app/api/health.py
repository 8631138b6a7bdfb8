"""Health: for load balancers and operators."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from app.api.authorizing import ScopedRoute
from app.api.dependencies import FromServices
from app.api.problems import problem, problems
from app.api.schemas.health import LiveView, ReadyView

router = APIRouter(prefix="/health", tags=["health"], route_class=ScopedRoute)


@router.get("/live", summary="Tell whether the server lives", response_model=LiveView)
async def live() -> LiveView:
    """Whether the server answers at all."""
    return LiveView()


@router.get("/ready", summary="Tell whether the server is ready", response_model=ReadyView, responses=problems(503))
async def ready(request: Request, services: FromServices) -> Response | ReadyView:
    """Whether the server should get requests: once a model is loaded and warmed up, or when there is none to load.

    A server whose models are loaded stays ready while the database is away, and says that it is.
    """
    view = ReadyView.of(services.status())
    if view.is_ready:
        return view
    return problem(
        request.scope,
        HTTPStatus.SERVICE_UNAVAILABLE,
        code="not_ready",
        detail="No model is loaded yet.",
        facts=view.model_dump(mode="json"),
    )
