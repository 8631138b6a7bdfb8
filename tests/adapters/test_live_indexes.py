"""Aliases are followed: a swap fails no request, and what cannot be loaded leaves the old model serving."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.adapters.live_indexes import LONGEST_PAUSE_S, LiveIndexes
from app.domain.errors import DamagedArtifact, NothingLive, Unavailable
from app.domain.models import Alias
from app.domain.serving import AliasTarget, LiveModel, Song
from tests.fakes.live_models import BruteForceModel
from tests.values import NOON, FakeClock


class World:
    """Aliases that the test moves, files that it may damage, and a clock for pauses."""

    def __init__(self, root: Path) -> None:
        self.store = FolderArtifactStore(root)
        self.targets: dict[str, AliasTarget] = {}
        self.database_error: Exception | None = None
        self.tables: dict[str, str] = {}
        self.loaded: list[str] = []
        self.clock = FakeClock()
        self.now_s = 0.0
        self.folder = root / "models"

    def read(self) -> list[AliasTarget]:
        if self.database_error is not None:
            raise self.database_error
        return list(self.targets.values())

    def load(self, folder: Path, model_id: str) -> LiveModel:
        self.loaded.append(model_id)
        title = (folder / "title.txt").read_text()
        if title == "too big":
            raise MemoryError
        return BruteForceModel(
            model_id, [Song(song_id="s", title=title, artist=None, n_plays=1)], np.ones((1, 1), "f4")
        )

    def tables_of(self, model_ids: Collection[str]) -> dict[str, str]:
        return {model_id: table for model_id, table in self.tables.items() if model_id in model_ids}

    def take(self, model: LiveModel, folder: Path) -> LiveModel:
        if (folder / "table.json").read_text() != model.model_id:
            raise DamagedArtifact("The table is of another model.")
        return BruteForceModel(model.model_id, [model.song(0)], np.ones((1, 1), "f4"))

    def publish_table(self, number: int, *, of_model: int | None = None) -> None:
        with self.store.stage() as staged:
            (staged / "table.json").write_text(f"mdl_{number if of_model is None else of_model}")
            self.store.publish(staged, "neighbours", f"nbt_{number}-1")
        self.tables[f"mdl_{number}"] = f"nbt_{number}-1"

    def publish(self, number: int, title: str = "fine") -> None:
        with self.store.stage() as staged:
            (staged / "title.txt").write_text(title)
            self.store.publish(staged, "models", f"mdl_{number}-1")

    def point(self, number: int, *, generation: int, alias: str = "production") -> None:
        moved = Alias(name=alias, model_id=f"mdl_{number}", generation=generation, updated_at=datetime.now(UTC))
        self.targets[alias] = AliasTarget(moved, files=f"mdl_{number}-1")

    def damage(self, number: int) -> None:
        path = self.folder / f"mdl_{number}-1" / "title.txt"
        path.write_text("FINE")

    def follower(self, *, poll_s: float = 1.0, kept_up_to: int = 0) -> LiveIndexes:
        return LiveIndexes(
            targets=self.read,
            store=self.store,
            load=self.load,
            tables=self.tables_of,
            take_table=self.take,
            kept_up_to=kept_up_to,
            poll_s=poll_s,
            clock=self.clock,
            monotonic=lambda: self.now_s,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.publish(1)
    made.publish(2)
    return made


@pytest.fixture
def following(world: World) -> Iterator[LiveIndexes]:
    """A follower in its own thread, on model 1."""
    world.point(1, generation=1)
    indexes = world.follower(poll_s=0.01)
    indexes.start()
    eventually(lambda: indexes.status().is_ready)
    yield indexes
    indexes.stop()


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline, "It did not come to be in 10 seconds."
        time.sleep(0.005)


def live(indexes: LiveIndexes, alias: str = "production") -> tuple[str, int]:
    found = indexes.get(alias)
    return found.model.model_id, found.generation


def error_of(indexes: LiveIndexes) -> str | None:
    return indexes.status().aliases[0].error


class TestGoingBack:
    def moved(self, world: World, indexes: LiveIndexes, *numbers: int) -> None:
        for number in numbers:
            before = world.targets.get("production")
            world.point(number, generation=1 if before is None else before.alias.generation + 1)
            indexes.look()
            assert live(indexes)[0] == f"mdl_{number}"

    @pytest.mark.parametrize(("kept_up_to", "n_loaded"), [(1, 2), (0, 4)])
    def test_a_model_of_few_songs_that_was_left_is_not_loaded_again(
        self, world: World, kept_up_to: int, n_loaded: int
    ) -> None:
        self.moved(world, world.follower(kept_up_to=kept_up_to), 1, 2, 1, 2)
        assert world.loaded == ["mdl_1", "mdl_2", "mdl_1", "mdl_2"][:n_loaded]

    def test_the_one_left_last_is_kept_and_no_other(self, world: World) -> None:
        world.publish(3)
        indexes = world.follower(kept_up_to=1)
        self.moved(world, indexes, 1)
        first, second = weakref.ref(indexes.get("production").model), None
        self.moved(world, indexes, 2)
        second = weakref.ref(indexes.get("production").model)
        gc.collect()
        assert first() is not None
        self.moved(world, indexes, 3)
        gc.collect()
        assert first() is None
        assert second() is not None
        self.moved(world, indexes, 1)
        assert world.loaded == ["mdl_1", "mdl_2", "mdl_3", "mdl_1"]

    def test_nothing_is_kept_of_an_alias_that_is_gone(self, world: World) -> None:
        indexes = world.follower(kept_up_to=1)
        self.moved(world, indexes, 1)
        first = weakref.ref(indexes.get("production").model)
        self.moved(world, indexes, 2)
        world.targets.clear()
        indexes.look()
        gc.collect()
        assert first() is None

    def test_a_new_generation_of_the_same_model_leaves_what_was_left_before(self, world: World) -> None:
        indexes = world.follower(kept_up_to=1)
        self.moved(world, indexes, 1, 2, 2, 1)
        assert world.loaded == ["mdl_1", "mdl_2"]

    def test_damage_done_meanwhile_is_noticed_and_once_mended_it_is_loaded_anew(self, world: World) -> None:
        indexes = world.follower(kept_up_to=1)
        self.moved(world, indexes, 1, 2)
        world.damage(1)
        world.point(1, generation=3)
        indexes.look()
        assert live(indexes) == ("mdl_2", 2)
        assert "title.txt" in str(error_of(indexes))
        (world.folder / "mdl_1-1" / "title.txt").write_text("fine")
        world.now_s += LONGEST_PAUSE_S
        indexes.look()
        assert live(indexes) == ("mdl_1", 3)
        assert world.loaded == ["mdl_1", "mdl_2", "mdl_1"]

    def test_it_comes_back_with_its_table(self, world: World) -> None:
        world.publish_table(1)
        indexes = world.follower(kept_up_to=1)
        self.moved(world, indexes, 1)
        tabled = indexes.get("production").model
        self.moved(world, indexes, 2, 1)
        assert indexes.get("production").model is tabled
        assert indexes.status().aliases[0].has_table

    def test_a_table_that_was_damaged_meanwhile_is_refused_and_its_model_serves_without(self, world: World) -> None:
        world.publish_table(1)
        indexes = world.follower(kept_up_to=1)
        self.moved(world, indexes, 1, 2)
        (world.folder.parent / "neighbours" / "nbt_1-1" / "table.json").write_text("mdl_2")
        self.moved(world, indexes, 1)
        assert world.loaded == ["mdl_1", "mdl_2", "mdl_1"]
        (status,) = indexes.status().aliases
        assert not status.has_table
        assert "table.json" in str(status.neighbours_error)

    def test_a_table_that_is_ready_meanwhile_is_taken_up(self, world: World) -> None:
        indexes = world.follower(kept_up_to=1)
        self.moved(world, indexes, 1, 2)
        world.publish_table(1)
        self.moved(world, indexes, 1)
        assert indexes.status().aliases[0].has_table


class TestFollowing:
    def test_nothing_is_live_before_the_first_look(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower()

        with pytest.raises(NothingLive):
            indexes.get("production")
        assert not indexes.status().is_ready

    def test_a_look_brings_live_what_the_alias_names(self, world: World) -> None:
        world.point(1, generation=4)
        indexes = world.follower()
        indexes.look()

        assert live(indexes) == ("mdl_1", 4)
        status = indexes.status()
        assert status.is_ready
        assert status.looked_at == NOON
        assert (status.aliases[0].live_model_id, status.aliases[0].live_generation) == ("mdl_1", 4)
        assert (status.aliases[0].loaded_at, status.aliases[0].error) == (NOON, None)

    def test_with_no_alias_there_is_nothing_to_wait_for(self, world: World) -> None:
        indexes = world.follower()
        indexes.look()

        assert indexes.status().is_ready
        assert indexes.status().aliases == []

    def test_a_moved_alias_swaps_and_what_was_taken_before_stays_whole(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        taken = indexes.get("production")
        world.point(2, generation=2)
        indexes.look()

        assert live(indexes) == ("mdl_2", 2)
        assert (taken.model.model_id, taken.generation, taken.model.n_songs) == ("mdl_1", 1, 1)

    def test_what_is_live_is_not_loaded_again(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        indexes.look()

        assert world.loaded == ["mdl_1"]

    def test_two_aliases_share_one_loaded_model(self, world: World) -> None:
        world.point(1, generation=1)
        world.point(1, generation=7, alias="challenger")
        indexes = world.follower()
        indexes.look()

        assert indexes.get("challenger").model is indexes.get("production").model
        assert live(indexes, "challenger") == ("mdl_1", 7)
        assert world.loaded == ["mdl_1"]

    def test_a_new_generation_of_the_same_model_needs_no_load(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        world.point(1, generation=3)
        indexes.look()

        assert live(indexes) == ("mdl_1", 3)
        assert world.loaded == ["mdl_1"]

    def test_an_alias_that_is_gone_serves_no_longer(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        world.targets.clear()
        indexes.look()

        with pytest.raises(NothingLive):
            indexes.get("production")


class TestFailures:
    def test_a_damaged_file_is_refused_before_it_is_read_and_the_old_model_serves(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        world.damage(2)
        world.point(2, generation=2)
        indexes.look()

        assert live(indexes) == ("mdl_1", 1)
        assert world.loaded == ["mdl_1"]
        assert "title.txt was altered" in str(error_of(indexes))
        assert indexes.status().is_ready
        assert indexes.status().aliases[0].wanted_generation == 2

    def test_it_goes_live_once_the_file_is_whole_again(self, world: World) -> None:
        world.damage(1)
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        assert not indexes.status().is_ready
        world.publish(1)
        world.now_s += LONGEST_PAUSE_S
        indexes.look()

        assert live(indexes) == ("mdl_1", 1)
        assert error_of(indexes) is None

    def test_retries_come_at_growing_pauses_up_to_a_minute(self, world: World) -> None:
        world.publish(3, "too big")
        world.point(3, generation=1)
        indexes = world.follower(poll_s=1.0)
        tried_at = []
        for second in range(200):
            world.now_s = float(second)
            n_tries = len(world.loaded)
            indexes.look()
            if len(world.loaded) > n_tries:
                tried_at.append(second)

        assert tried_at == [0, 2, 6, 14, 30, 62, 122, 182]

    def test_a_new_target_is_tried_at_once_whatever_failed_before(self, world: World) -> None:
        world.publish(3, "too big")
        world.point(3, generation=1)
        indexes = world.follower()
        indexes.look()
        world.point(2, generation=2)
        indexes.look()

        assert live(indexes) == ("mdl_2", 2)

    def test_a_move_back_to_the_live_model_clears_the_error(self, world: World) -> None:
        world.publish(3, "too big")
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        world.point(3, generation=2)
        indexes.look()
        world.point(1, generation=3)
        indexes.look()

        assert live(indexes) == ("mdl_1", 3)
        assert error_of(indexes) is None

    def test_one_bad_model_keeps_no_other_alias_from_its_own(self, world: World) -> None:
        world.damage(1)
        world.point(1, generation=1, alias="a")
        world.point(2, generation=1, alias="b")
        indexes = world.follower()
        indexes.look()

        assert live(indexes, "b") == ("mdl_2", 1)

    def test_foreign_errors_are_named_by_kind_alone(self, world: World) -> None:
        world.publish(3, "too big")
        world.point(3, generation=1)
        indexes = world.follower()
        indexes.look()

        assert error_of(indexes) == "MemoryError"

    def test_with_the_database_away_what_is_live_serves_on(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        world.database_error = Unavailable("The database cannot be reached.")
        indexes.look()
        indexes.look()

        assert live(indexes) == ("mdl_1", 1)
        assert indexes.status().lookup_error == "The database cannot be reached."
        assert len(caplog.messages) == 1
        world.database_error = None
        indexes.look()
        assert indexes.status().lookup_error is None

    def test_a_server_that_starts_without_the_database_is_not_ready(self, world: World) -> None:
        world.database_error = Unavailable("The database cannot be reached.")
        indexes = world.follower()
        indexes.look()

        assert not indexes.status().is_ready


class TestThread:
    def test_it_follows_a_moved_alias_by_polling(self, world: World, following: LiveIndexes) -> None:
        world.point(2, generation=2)

        eventually(lambda: live(following) == ("mdl_2", 2))

    def test_a_poke_looks_at_once(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower(poll_s=300.0)
        indexes.start()
        eventually(lambda: indexes.status().is_ready)
        world.point(2, generation=2)
        indexes.poke()
        eventually(lambda: live(indexes) == ("mdl_2", 2))
        indexes.stop()

    def test_it_stops_at_once_and_what_is_live_stays(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower(poll_s=300.0)
        indexes.start()
        eventually(lambda: indexes.status().is_ready)
        began_s = time.monotonic()
        indexes.stop()
        indexes.stop()

        assert time.monotonic() - began_s < 3
        assert live(indexes) == ("mdl_1", 1)
        assert "live-indexes" not in {thread.name for thread in threading.enumerate()}

    def test_it_is_started_once(self, following: LiveIndexes) -> None:
        with pytest.raises(RuntimeError, match="already"):
            following.start()

    def test_it_outlives_whatever_a_look_meets(self, world: World, following: LiveIndexes) -> None:
        world.database_error = RuntimeError("a defect")
        eventually(lambda: following.status().lookup_error == "RuntimeError")
        world.database_error = None
        world.point(2, generation=2)

        eventually(lambda: live(following) == ("mdl_2", 2))

    def test_no_request_fails_or_sees_a_mixture_while_models_swap(self, world: World, following: LiveIndexes) -> None:
        for number in (1, 2):
            world.publish(number, f"of mdl_{number}")
        failures: list[object] = []
        is_over = threading.Event()
        n_asked = [0, 0]

        def ask(reader: int) -> None:
            while not is_over.is_set():
                found = following.get("production")
                title = found.model.song(0).title
                expected = f"mdl_{2 - found.generation % 2}"
                if found.model.model_id != expected or title not in {"fine", f"of {expected}"}:
                    failures.append((found, title))
                n_asked[reader] += 1

        readers = [threading.Thread(target=ask, args=(reader,)) for reader in range(2)]
        for reader in readers:
            reader.start()
        for generation in range(2, 22):
            world.point(2 - generation % 2, generation=generation)
            following.poke()
            expected = generation
            eventually(lambda: following.get("production").generation == expected)  # noqa: B023 - called at once
        is_over.set()
        for reader in readers:
            reader.join()

        assert failures == []
        assert min(n_asked) > 100


class TestBundles:
    def point(self, world: World, segments: dict[str, str], *, generation: int) -> None:
        moved = Alias(name="production", model_id="mdl_1", generation=generation, updated_at=NOON, segments=segments)
        files = {model_id: f"{model_id}-1" for model_id in moved.bundle.models()}
        world.targets["production"] = AliasTarget(moved, "mdl_1-1", files)

    def test_every_model_of_a_bundle_is_live_at_once_and_each_is_loaded_once(self, world: World) -> None:
        self.point(world, {"ar": "mdl_2", "fr": "mdl_2", "en": "mdl_1"}, generation=1)
        indexes = world.follower()
        indexes.look()
        found = indexes.get("production")
        assert [found.of(segment).model.model_id for segment in ("ar", "fr", "en", "xx", None)] == [
            "mdl_2",
            "mdl_2",
            "mdl_1",
            "mdl_1",
            "mdl_1",
        ]
        assert sorted(world.loaded) == ["mdl_1", "mdl_2"]
        self.point(world, {"ar": "mdl_1"}, generation=2)
        indexes.look()
        assert indexes.get("production").of("ar").model.model_id == "mdl_1"
        assert sorted(world.loaded) == ["mdl_1", "mdl_2"]

    def test_one_damaged_member_leaves_the_whole_former_bundle_serving(self, world: World) -> None:
        world.point(2, generation=1)
        indexes = world.follower()
        indexes.look()
        world.publish(3)
        world.damage(3)
        self.point(world, {"ar": "mdl_3"}, generation=2)
        indexes.look()
        assert live(indexes) == ("mdl_2", 1)
        assert error_of(indexes) is not None


class TestTables:
    def test_a_table_is_taken_up_by_the_same_model_of_the_same_generation(self, world: World) -> None:
        world.point(1, generation=4)
        indexes = world.follower()
        indexes.look()
        searching = indexes.get("production")
        world.publish_table(1)
        indexes.look()

        looking_up = indexes.get("production")
        assert looking_up.model is not searching.model
        assert live(indexes) == ("mdl_1", 4)
        assert world.loaded == ["mdl_1"]
        assert searching.model.song(0) == looking_up.model.song(0)  # who took it before goes on with it
        assert indexes.status().aliases[0].has_table
        assert indexes.status().aliases[0].neighbours_error is None

    def test_a_table_is_taken_up_once_and_for_all_aliases(self, world: World) -> None:
        world.point(1, generation=1)
        world.point(1, generation=1, alias="challenger")
        world.publish_table(1)
        indexes = world.follower()
        indexes.look()
        first = indexes.get("production").model
        indexes.look()

        assert indexes.get("production").model is first
        assert indexes.get("challenger").model is first

    def test_a_new_generation_keeps_the_table(self, world: World) -> None:
        world.point(1, generation=1)
        world.publish_table(1)
        indexes = world.follower()
        indexes.look()
        tabled = indexes.get("production").model
        world.point(1, generation=2)
        indexes.look()

        assert live(indexes) == ("mdl_1", 2)
        assert indexes.get("production").model is tabled

    def test_a_model_that_comes_back_takes_its_table_up_again(self, world: World) -> None:
        world.publish_table(1)
        indexes = world.follower()
        for generation, number in enumerate((1, 2, 1), start=1):
            world.point(number, generation=generation)
            indexes.look()

        assert live(indexes) == ("mdl_1", 3)
        assert world.loaded == ["mdl_1", "mdl_2", "mdl_1"]
        assert indexes.status().aliases[0].neighbours_error is None

    def test_a_damaged_table_is_refused_unread_and_the_model_serves_on(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = world.follower()
        indexes.look()
        searching = indexes.get("production").model
        world.publish_table(1)
        path = world.folder.parent / "neighbours" / "nbt_1-1" / "table.json"
        path.write_text("mdl_2")
        indexes.look()

        assert indexes.get("production").model is searching
        status = indexes.status()
        assert status.is_ready
        assert (status.aliases[0].error, status.aliases[0].has_table) == (None, False)
        assert "table.json was altered" in str(status.aliases[0].neighbours_error)
        path.write_text("mdl_1")
        indexes.look()
        assert indexes.get("production").model is searching  # it is left alone for a while
        world.now_s += LONGEST_PAUSE_S
        indexes.look()
        assert indexes.get("production").model is not searching
        assert indexes.status().aliases[0].neighbours_error is None

    def test_a_table_that_does_not_fit_is_refused_and_one_built_anew_is_taken_at_once(self, world: World) -> None:
        world.point(1, generation=1)
        world.publish_table(1, of_model=2)
        indexes = world.follower()
        indexes.look()
        assert indexes.status().aliases[0].neighbours_error == "The table is of another model."
        with world.store.stage() as staged:
            (staged / "table.json").write_text("mdl_1")
            world.store.publish(staged, "neighbours", "nbt_9-1")
        world.tables["mdl_1"] = "nbt_9-1"
        indexes.look()

        assert indexes.status().aliases[0].neighbours_error is None

    def test_tables_that_cannot_be_looked_for_keep_no_model_from_going_live(self, world: World) -> None:
        world.point(1, generation=1)
        indexes = LiveIndexes(targets=world.read, store=world.store, load=world.load, tables=_away, clock=world.clock)
        indexes.look()

        assert live(indexes) == ("mdl_1", 1)
        assert indexes.status().lookup_error == "away"


def _away(_: Collection[str]) -> dict[str, str]:
    raise Unavailable("away")
