"""A table of neighbours that is built after its model is live: nobody waits for it, and no dead worker loses it."""

from app.domain.neighbour_tables import TableState
from app.services.neighbour_tables import KIND
from tests.journeys.house import House
from tests.journeys.http import answered, client, promoted_model, served, until_live
from tests.journeys.test_worker_killed import freeze_runner
from tests.processes import kill, until

SONGS = ("song-7", "song-1", "song-30")


def test_a_model_answers_by_search_until_its_table_is_built_by_the_next_of_a_killed_worker(
    sqlite_house: House,
) -> None:
    house, tables = sqlite_house, sqlite_house.container.tables
    first = house.worker()
    study = house.study(n_initial=1)
    house.assert_complete(study)
    with client(house.server()) as http:
        model_id = promoted_model(http, study.id, neighbours="off")["id"]
        until_live(http, model_id, generation=1)
        searched = [answered(http.get(f"/v1/songs/{song}/neighbours"), 200) for song in SONGS]
        freeze_runner(house, first)
        answered(http.post(f"/v1/models/{model_id}/neighbours"), 202)
        until(lambda: http.get(f"/v1/models/{model_id}").json()["neighbours"]["state"] == "building", "it is begun")
        kill(first)
        assert [answered(http.get(f"/v1/songs/{song}/neighbours"), 200) for song in SONGS] == searched

        house.worker()
        until(lambda: bool(tables.ready([model_id])), "the next worker has built it", within_s=60)
        table = tables.of_model(model_id).table
        assert table is not None
        assert (table.state, table.attempt) == (TableState.READY, 2)
        assert house.kept(KIND) == [f"{table.id}-2"]
        until(lambda: (served(http) or {})["has_table"], "the server takes it up")
        looked_up = [answered(http.get(f"/v1/songs/{song}/neighbours"), 200) for song in SONGS]
        assert [_near(answer) for answer in looked_up] == [_near(answer) for answer in searched]
        assert {(answer["model_id"], answer["generation"]) for answer in looked_up} == {(model_id, 1)}
        status = served(http)
        assert status is not None
        assert status["neighbours_error"] is None


def _near(answer: dict[str, object]) -> list[str]:
    neighbours = answer["neighbours"]
    assert isinstance(neighbours, list)
    return [near["song_id"] for near in neighbours]
