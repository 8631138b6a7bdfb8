"""The HTTP server: the app, from what the composition root built."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import (
    aliases,
    asking,
    calibration,
    catalogue,
    comparisons,
    datasets,
    events,
    experiment_results,
    experiments,
    health,
    interleaving,
    keys,
    models,
    own_trials,
    plays,
    recommendations,
    results,
    retrainings,
    songs,
    studies,
    study_life,
    transfers,
    trials,
    uploads,
    users,
    warm_starts,
)
from app.api.admission import GATE, Admission, Gate, Pressure
from app.api.authorizing import check_scopes
from app.api.dependencies import Services
from app.api.documentation import describe
from app.api.following import Following
from app.api.observing import Figures, Observed, of_all_processes
from app.api.plain_answers import PLAIN, PLAIN_ID, AnswersInThreads, Plain, PlainQuestions
from app.api.problems import problems, tell_problems
from app.api.served import ServedAliases
from app.api.shadowed import written_neighbours
from app.api.stop_signals import at_stop
from app.bootstrap import Container
from app.config import load
from app.log import configure


def app_from_environment() -> FastAPI:
    """The app that the environment describes, for `uvicorn --factory`. Raises: InvalidSettings."""
    settings = load()
    configure(level=settings.log_level, log_format=settings.log_format)
    return create_app(Container(settings))


def create_app(container: Container) -> FastAPI:
    """The app on these services; it begins to follow the aliases when it starts."""
    services = services_of(container)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, object]]:
        container.start()
        try:
            with at_stop(services.following.close):
                yield {GATE: gate, PLAIN: at_once}
        finally:
            await services.following.stop()
            await container.rate_limits.close()
            await anyio.to_thread.run_sync(container.stop)

    app = Application(
        title="Segue",
        version=_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},  # /metrics tells
    )
    app.state.services = services
    app.state.upload_threads = anyio.CapacityLimiter(uploads.MOST_AT_ONCE)
    app.router.routes.extend(_routes())
    tell_problems(app)
    describe(app)
    registry = _add_metrics(app, services)
    figures = Figures(registry)
    app.add_middleware(Observed, figures=figures)
    is_local = container.settings.redis_url is None and container.settings.database_url.startswith("sqlite")
    questions = partial(
        PlainQuestions, key_scopes=services.key_scopes, limited_scopes=services.limited_scopes, figures=figures
    )
    of_songs, of_users = _of_songs(services), _of_users(services)
    at_once = questions([of_songs, of_users] if is_local else [of_songs])
    if not is_local:
        app.put_before(partial(AnswersInThreads, questions=questions([of_users])))
    gate: Gate | None = None
    if container.settings.overload == "shed":
        gate = Gate(pressure=Pressure(most_in_flight=container.settings.most_in_flight), registry=registry)
        app.put_before(partial(Admission, gate=gate))
    return app


class Application(FastAPI):
    """FastAPI, and what answers or refuses before anything of it is gone through."""

    def __init__(self, **described: Any) -> None:  # noqa: ANN401 - the base's
        super().__init__(**described)
        self._front: ASGIApp = super().__call__

    def put_before(self, make: Callable[[ASGIApp], ASGIApp]) -> None:
        """Let this have each request first, and hand it on to what had it first till now."""
        self._front = make(self._front)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._front(scope, receive, send)


@cache
def _routes() -> list[BaseRoute]:
    """Every route. FastAPI works them out at the first request, in half a second: once for all apps of a process."""
    router = APIRouter()
    for subject in (
        catalogue,
        songs,
        recommendations,
        plays,
        users,
        uploads,
        datasets,
        studies,
        own_trials,
        warm_starts,
        asking,
        comparisons,
        study_life,
        results,
        transfers,
        events,
        trials,
        models,
        aliases,
        retrainings,
        experiments,
        interleaving,
        calibration,
        experiment_results,
        keys,
        health,
    ):
        router.include_router(subject.router, responses=problems(422, 500, 503))
    check_scopes(router.routes)
    return router.routes


def _version() -> str:
    try:
        return version("segue")
    except PackageNotFoundError:  # run from the sources
        return "0"


def services_of(container: Container) -> Services:
    """What the routers need of the container."""
    return Services(
        datasets=container.datasets,
        studies=container.studies,
        own_trials=container.own_trials,
        asking=container.asking,
        warm_starts=container.warm_starts,
        comparisons=container.comparisons,
        life=container.life,
        verdicts=container.verdicts,
        importance=container.importance,
        exports=container.exports,
        transfers=container.transfers,
        following=Following(container.events, signals=container.signals, poll_s=container.settings.poll_interval_s),
        models=container.models,
        aliases=container.aliases,
        gates=container.gates,
        shadows=container.shadows,
        experiments=container.experiments,
        exposing=container.exposing,
        exposures=container.exposures,
        interleaving=container.interleaving,
        calibration=container.calibration,
        retrainings=container.retrainings,
        differences=container.differences,
        experiment_results=container.experiment_results,
        tables=container.tables,
        serving=container.serving,
        recommending=container.recommending,
        plays=container.plays,
        catalogue=container.catalogue,
        users=container.users,
        status=container.live.status,
        poke=container.live.poke,
        keys=container.keys,
        key_scopes=container.known_keys.scopes if container.settings.auth == "keys" else None,
        keys_changed=container.known_keys.look,
        hit=container.rate_limits.hit,
        limited_scopes=frozenset(container.settings.rate_limits),
        max_upload_bytes=container.settings.max_upload_bytes,
        max_body_bytes=container.settings.max_body_bytes,
    )


def _of_songs(services: Services) -> Plain:
    """Neighbours, which this process looks up itself."""
    (route,) = (route for route in songs.router.routes if isinstance(route, songs.NeighboursRoute))
    return Plain(
        path=re.compile(b"/v1/songs/%b/neighbours" % PLAIN_ID),
        route=route,
        ask=lambda song_id, k: written_neighbours(services, song_id, k=k),
    )


def _of_users(services: Services) -> Plain:
    """Recommendations, for which histories are read."""
    return Plain(
        path=re.compile(b"/v1/users/%b/recommendations" % PLAIN_ID),
        route=recommendations.route_for_users(),
        ask=partial(recommendations.written_recommendations, services),
    )


def _add_metrics(app: FastAPI, services: Services) -> CollectorRegistry:
    registry = CollectorRegistry()  # of this app alone: tests make many
    told = of_all_processes(registry)
    if told is registry:
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
    ServedAliases(services.status, told)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(told), media_type=CONTENT_TYPE_LATEST)

    return registry
