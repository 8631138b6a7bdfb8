"""The catalogue: what is said of songs, and which are denied. Every server follows within seconds."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices, SongPath
from app.api.problems import problems
from app.api.schemas.base import PageView
from app.api.schemas.catalogue import (
    AllowanceBody,
    CatalogueSongView,
    DenialBody,
    DenialsBody,
    DenialsParameters,
    DenialsView,
    DenialView,
    SongBody,
    SongChangesBody,
    SongsBody,
    SongVerdictsView,
    SongVerdictView,
)
from app.domain.catalogue import SongWords
from app.domain.errors import InvalidRequest

router = APIRouter(prefix="/v1", tags=["catalogue"], route_class=StrictRoute)

WRITES = (413, 415, 507)


@router.put(
    "/songs/{song_id:path}/denial",
    summary="Deny a song",
    response_model=DenialView,
    responses=problems(404, *WRITES),
)
def deny_song(song_id: SongPath, body: DenialBody, services: FromServices) -> DenialView:
    """Withdraw a song: within seconds no neighbours, recommendations or search of any server hold it.

    It need not be known to any model. While the database is away servers go on with the last list that they read.
    """
    return DenialView.of(services.catalogue.deny({song_id: body.reason})[0])


@router.delete(
    "/songs/{song_id:path}/denial",
    summary="Take a denial back",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(404, 507),
)
def allow_song(song_id: SongPath, services: FromServices) -> None:
    """Have lists hold the song again. Safe to repeat."""
    services.catalogue.allow([song_id])


@router.get("/denials", summary="List the denied songs", response_model=PageView[DenialView])
def list_denials(which: Annotated[DenialsParameters, Query()], services: FromServices) -> PageView[DenialView]:
    """Every song that is denied, by id."""
    page = services.catalogue.denied(limit=which.limit, cursor=which.cursor)
    return PageView(items=[DenialView.of(song) for song in page.rows], next_cursor=page.next_cursor)


@router.post("/denials", summary="Deny many songs", response_model=DenialsView, responses=problems(*WRITES))
def deny_songs(body: DenialsBody, services: FromServices) -> DenialsView:
    """Withdraw up to 1,000 songs, all or, if the request fails, none. Safe to repeat."""
    reasons = {denial.song_id: denial.reason for denial in body.denials}
    return DenialsView(denials=[DenialView.of(song) for song in services.catalogue.deny(reasons)])


@router.post(
    "/denials/delete",
    summary="Take many denials back",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(*WRITES),
)
def allow_songs(body: AllowanceBody, services: FromServices) -> None:
    """Have lists hold up to 1,000 songs again. Safe to repeat."""
    services.catalogue.allow(body.song_ids)


@router.get(
    "/songs/{song_id:path}/catalogue",
    summary="See what the catalogue has of a song",
    response_model=CatalogueSongView,
    responses=problems(404),
)
def get_catalogue_song(song_id: SongPath, services: FromServices) -> CatalogueSongView:
    """What was said of the song here, whatever a model's files say; GET /v1/songs/{song_id} tells both together."""
    return CatalogueSongView.of(services.catalogue.get(song_id))


@router.put(
    "/songs/{song_id:path}",
    summary="Say what a song is",
    response_model=CatalogueSongView,
    responses=problems(404, *WRITES),
)
def put_song(song_id: SongPath, body: SongBody, services: FromServices) -> CatalogueSongView:
    """Replace what is said of a song: titles, filters and `max_per_artist` of every server see it within seconds.

    A song that the live models have not trained on is answered with at once, marked `provisional`, by the mean of the
    songs that it is played `beside`: those named here, else those that plays tell of. It ends with the first model that
    has trained on the song.
    """
    return CatalogueSongView.of(services.catalogue.put({song_id: (body.words(), body.beside)})[0])


@router.patch(
    "/songs/{song_id:path}",
    summary="Change what is said of a song",
    response_model=CatalogueSongView,
    responses=problems(404, *WRITES),
)
def patch_song(song_id: SongPath, body: SongChangesBody, services: FromServices) -> CatalogueSongView:
    """Change some of it; null takes away."""
    return CatalogueSongView.of(services.catalogue.patch(song_id, body.changes()))


@router.delete(
    "/songs/{song_id:path}",
    summary="Say nothing of a song",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(404, 507),
)
def delete_song(song_id: SongPath, services: FromServices) -> None:
    """Forget what was said of a song; models that trained on it know it still, and a denial stays. Safe to repeat."""
    services.catalogue.remove(song_id)


@router.post("/songs", summary="Say what many songs are", response_model=SongVerdictsView, responses=problems(*WRITES))
def put_songs(body: SongsBody, services: FromServices) -> SongVerdictsView:
    """Replace what is said of up to 1,000 songs; one that is wrong in itself rejects itself alone. Safe to repeat."""
    reasons: dict[int, str] = {}
    songs: dict[str, tuple[SongWords, Sequence[str] | None]] = {}
    last_of: dict[str, int] = {}
    for place, song in enumerate(body.songs):
        try:
            if song.song_id in (song.beside or []):
                raise InvalidRequest("A new song is beside others.", pointer="/beside")
            songs[song.song_id] = (song.words(), song.beside)
            last_of[song.song_id] = place
        except InvalidRequest as error:
            reasons[place] = str(error)
    stored = {song.song_id: song.revision for song in services.catalogue.put(songs)} if songs else {}
    verdicts = [
        SongVerdictView(song_id=song.song_id, verdict="rejected", revision=None, reason=reasons[place])
        if place in reasons
        else SongVerdictView(
            song_id=song.song_id,
            verdict="stored" if last_of[song.song_id] == place else "repeated",
            revision=stored[song.song_id],
            reason=None,
        )
        for place, song in enumerate(body.songs)
    ]
    return SongVerdictsView(n_stored=len(stored), verdicts=verdicts)
