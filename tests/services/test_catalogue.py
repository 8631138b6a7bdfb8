"""What is told of songs is stored, followed by every server, and seen in every list."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.adapters.live_catalogue import LiveCatalogue
from app.adapters.live_indexes import LiveIndexes
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.catalogue import SongChanges, SongWords
from app.domain.errors import InvalidRequest, NotFound
from app.domain.models import Alias
from app.domain.serving import AliasTarget
from app.services.catalogue import CatalogueService, catalogue_changes
from app.services.leasing import artifact_name
from app.services.serving import ServingService
from tests.services.player import Units, angle_model, play
from tests.values import NOON, FakeClock


class Server:
    """One server of several on one database."""

    def __init__(self, units: SqlUnitsOfWork, store: FolderArtifactStore) -> None:
        self.units = Units(units)
        self.clock = FakeClock()
        self.model_id = "mdl_a"
        self.live = LiveIndexes(
            targets=self.targets,
            store=store,
            load=lambda _folder, model_id: angle_model(model_id),
            overlays=LiveCatalogue(partial(catalogue_changes, self.units), clock=self.clock),
        )
        self.catalogue = CatalogueService(self.units, live=self.live, poke=self.live.look)
        self.serving = ServingService(self.live)
        self.live.look()

    def targets(self) -> list[AliasTarget]:
        alias = Alias(name="production", model_id=self.model_id, generation=1, updated_at=NOON)
        return [AliasTarget(alias, artifact_name("mdl_a", 1))]

    def near(self, song_id: str, k: int = 3) -> list[str]:
        return [song["song_id"] for song in self.serving.neighbours(song_id, k=k)["neighbours"]]


@pytest.fixture
def units(database_url: str) -> Iterator[SqlUnitsOfWork]:
    engine = create_engine(database_url)
    yield SqlUnitsOfWork(engine)
    engine.dispose()


@pytest.fixture
def servers(units: SqlUnitsOfWork, tmp_path: Path) -> tuple[Server, Server]:
    store = FolderArtifactStore(tmp_path)
    with store.stage() as staged:
        (staged / "a").write_bytes(b"a")
        store.publish(staged, "models", artifact_name("mdl_a", 1))
    return Server(units, store), Server(units, store)


def test_a_denial_holds_on_every_server_and_while_the_database_is_away(servers: tuple[Server, Server]) -> None:
    one, two = servers
    (denied,) = one.catalogue.deny({"s1": "rights"})
    assert one.near("s0") == ["s2", "s3", "s4"]
    two.live.look()
    assert two.near("s0") == ["s2", "s3", "s4"]
    assert [song.song_id for song in two.serving.songs("title 1").songs] == ["s10", "s11"]
    two.units.is_away = True
    two.clock.advance(90)
    two.live.look()
    assert two.near("s0") == ["s2", "s3", "s4"]
    status = two.live.status().catalogue
    assert status is not None
    assert (status.revision, status.n_denied, status.read_at) == (denied.revision, 1, NOON)
    assert two.live.status().lookup_error is not None
    two.units.is_away = False
    one.catalogue.allow(["s1"])
    two.live.look()
    assert two.near("s0") == ["s1", "s2", "s3"]


def test_a_model_that_goes_live_later_is_born_with_the_deny_list(servers: tuple[Server, Server]) -> None:
    one, _ = servers
    one.catalogue.deny({"s1": "rights"})
    one.model_id = "mdl_b"
    one.live.look()

    assert one.serving.neighbours("s0", k=1)["model_id"] == "mdl_b"
    assert one.near("s0", 1) == ["s2"]


def test_denied_songs_are_listed_by_page_and_keep_their_first_instant(servers: tuple[Server, Server]) -> None:
    catalogue = servers[0].catalogue
    first = catalogue.deny({f"d{number}": "rights" for number in range(5)})
    again = catalogue.deny({"d0": "court"})
    page = catalogue.denied(limit=3)
    then = catalogue.denied(limit=3, cursor=page.next_cursor)

    assert [song.song_id for song in page.rows + then.rows] == [f"d{number}" for number in range(5)]
    assert then.next_cursor is None
    assert first[0].denial is not None
    assert again[0].denial is not None
    assert (again[0].denial.denied_at, again[0].denial.reason) == (first[0].denial.denied_at, "court")
    assert again[0].revision > first[-1].revision


def test_what_is_said_replaces_changes_and_goes(servers: tuple[Server, Server]) -> None:
    one, _ = servers
    one.catalogue.put({"s1": (SongWords(title="T", details={"year": 1999, "gain": 0.5, "live": True}), None)})
    details = one.serving.song("s1").song.details
    assert details == {**angle_model().song(1).details, "year": 1999, "gain": 0.5, "live": True}
    changes = SongChanges(fields={"artist": "A"}, details={"year": None})
    assert one.catalogue.patch("s1", changes).said == SongWords(
        title="T", artist="A", details={"gain": 0.5, "live": True}
    )
    assert one.catalogue.get("s1").said == one.catalogue.patch("s1", SongChanges(fields={}, details={})).said
    one.catalogue.deny({"s1": "rights"})
    one.catalogue.remove("s1")
    assert one.serving.song("s1").song.title == "Title 1"
    assert one.catalogue.get("s1").denial is not None
    one.catalogue.allow(["s1"])
    one.catalogue.remove("s1")
    with pytest.raises(NotFound):
        one.catalogue.get("s1")


def test_a_new_song_is_placed_by_what_it_is_played_beside(servers: tuple[Server, Server]) -> None:
    one, two = servers
    minute = 1 / 1440
    sent = [
        play("e1", "s4", days_ago=2),
        play("e2", "new", days_ago=2 - minute),
        play("e3", "s5", days_ago=2 - 2 * minute),
        play("e4", "s4", days_ago=2 - 3 * minute),
        play("e5", "s0", days_ago=1),
        play("e6", "s9", days_ago=2, user_id="v"),
    ]
    with one.units() as unit:
        unit.plays.add(sent, received_at=NOON)
        unit.commit()
    one.catalogue.meet(["new", "s4", "nothing"])

    assert one.catalogue.get("new").beside == {"s4": 2, "s5": 1}
    two.live.look()
    for server in servers:
        assert server.near("new", 2) == ["s4", "s5"]
        assert server.serving.neighbours("s4", k=1)["neighbours"][0].get("provisional") is True
    revision = one.catalogue.get("new").revision
    one.catalogue.meet(["new"])
    assert one.catalogue.get("new").revision == revision
    with pytest.raises(NotFound):
        one.catalogue.get("nothing")


def test_what_was_given_is_not_counted_again(servers: tuple[Server, Server]) -> None:
    one, _ = servers
    one.catalogue.put({"new": (SongWords(title="New"), ["s8", "s8", "s9"])})
    with one.units() as unit:
        unit.plays.add([play("e1", "s1"), play("e2", "new")], received_at=NOON)
        unit.commit()
    one.catalogue.meet(["new"])

    assert one.catalogue.get("new").beside == {"s8": 2, "s9": 1}
    one.units.is_away = True
    one.catalogue.meet(["new", "other"])


@pytest.mark.parametrize("n_songs", [0, 1_001])
def test_batches_are_bounded(servers: tuple[Server, Server], n_songs: int) -> None:
    with pytest.raises(InvalidRequest):
        servers[0].catalogue.deny({f"d{number}": "rights" for number in range(n_songs)})


def test_many_changes_are_followed_page_by_page(servers: tuple[Server, Server]) -> None:
    one, two = servers
    for start in range(0, 6_000, 1_000):
        one.catalogue.deny({f"d{number}": "rights" for number in range(start, start + 1_000)})
    two.live.look()
    status = two.live.status().catalogue

    assert status is not None
    assert status.n_denied == 6_000
