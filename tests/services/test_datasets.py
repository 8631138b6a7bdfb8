"""Uploads and datasets: what is acknowledged is kept, what is refused leaves nothing."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.datasets import Dataset, DatasetState, SourceReference, Upload
from app.domain.errors import InvalidRequest, InvalidSource, KeyReused, LostLease, NotFound, TooLarge
from app.domain.lease import Failure, HeartbeatAnswer, Progress
from app.domain.recommending import epoch_ms
from app.services.datasets import KIND, DatasetWork
from app.services.idempotency import Idempotency, Replay
from tests.services.conftest import LEASE, House
from tests.values import NOON, dataset_spec, statistics

CSV = b"session_id,song_id,position\n1,a,0\n1,b,1\n1,c,2\n"


def uploads(house: House) -> list[str]:
    folder = house.root / "uploads"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def upload(house: House, content: bytes = CSV) -> Upload:
    stored = house.datasets.receive_upload([content], limit_bytes=1_000_000)
    assert isinstance(stored, Upload)
    return stored


def claim(house: House) -> DatasetWork:
    work = house.datasets.claim("worker")
    assert work is not None
    return work


def test_an_upload_is_kept_with_its_size_and_checksum(house: House) -> None:
    stored = upload(house)
    assert stored.format == "csv"
    assert stored.size_bytes == len(CSV)
    assert stored.sha256 == hashlib.sha256(CSV).hexdigest()
    assert house.datasets.get_upload(stored.id) == stored
    assert house.store.upload_path(stored.id).read_bytes() == CSV


def test_an_upload_over_the_limit_leaves_nothing(house: House) -> None:
    with pytest.raises(TooLarge):
        house.datasets.receive_upload([CSV, CSV], limit_bytes=len(CSV) + 1)
    assert uploads(house) == []


def test_an_upload_with_another_checksum_leaves_nothing(house: House) -> None:
    with pytest.raises(InvalidRequest, match="SHA-256"):
        house.datasets.receive_upload([CSV], limit_bytes=1_000, expected_sha256="0" * 64)
    assert uploads(house) == []


def test_an_upload_that_is_no_table_leaves_nothing(house: House) -> None:
    with pytest.raises(InvalidSource):
        house.datasets.receive_upload([b"\x89PNG\r\n\x1a\n" + bytes(100)], limit_bytes=1_000)
    assert uploads(house) == []


def test_a_dataset_of_an_unknown_source_is_refused(house: House) -> None:
    with pytest.raises(InvalidRequest) as refused:
        house.datasets.create(replace(dataset_spec(), plays=SourceReference(source="elsewhere")))
    assert refused.value.pointer == "/plays/source"


def test_a_dataset_of_an_unknown_upload_is_refused(house: House) -> None:
    with pytest.raises(InvalidRequest) as refused:
        house.datasets.create(replace(dataset_spec(), songs=SourceReference(upload_id="upl_none")))
    assert refused.value.pointer == "/songs/upload_id"


def test_a_reference_to_nothing_or_to_both_is_refused(house: House) -> None:
    for reference in (SourceReference(), SourceReference(upload_id="upl_1", source="plays")):
        with pytest.raises(InvalidRequest) as refused:
            house.datasets.create(replace(dataset_spec(), plays=reference))
        assert refused.value.pointer == "/plays"


def test_segments_need_a_songs_table(house: House) -> None:
    with pytest.raises(InvalidRequest) as refused:
        house.datasets.create(replace(dataset_spec(), segment_by="language"))
    assert refused.value.pointer == "/songs"


def test_a_worker_gets_the_files_by_their_references(house: House) -> None:
    stored = upload(house)
    house.datasets.create(replace(dataset_spec(), songs=SourceReference(upload_id=stored.id)))
    work = claim(house)
    assert work.plays.name == "plays.csv"
    assert work.songs == house.store.upload_path(stored.id)
    assert house.datasets.claim("another") is None


def test_a_prepared_dataset_is_ready_with_its_statistics(house: House) -> None:
    dataset = house.ready_dataset()
    stored = house.datasets.get(dataset.id)
    assert stored.state is DatasetState.READY
    assert stored.statistics == statistics()
    assert stored.fingerprint == "f" * 64
    assert stored.lease is None


def test_a_heartbeat_keeps_a_dataset(house: House) -> None:
    house.datasets.create(dataset_spec())
    work = claim(house)
    house.clock.advance(LEASE.total_seconds() - 1)
    progress = Progress(phase="sessions", fraction=0.5)
    assert house.datasets.heartbeat(work.claim, progress) is HeartbeatAnswer.CONTINUE
    house.clock.advance(LEASE.total_seconds() - 1)
    assert house.datasets.reap() == 0
    assert house.datasets.get(work.dataset.id).progress == progress


def test_a_dataset_that_is_kept_alive_between_a_look_and_the_taking_back_is_not_taken(house: House) -> None:
    house.datasets.create(dataset_spec())
    work = claim(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    house.watch.meanwhile = lambda: house.datasets.heartbeat(work.claim)
    assert house.datasets.reap() == 0
    assert house.datasets.heartbeat(work.claim) is HeartbeatAnswer.CONTINUE


def test_a_dead_worker_s_dataset_is_prepared_again_and_the_late_one_refused(house: House) -> None:
    house.datasets.create(dataset_spec())
    late = claim(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    assert house.datasets.reap() == 1
    current = claim(house)
    assert current.claim.attempt == 2
    with pytest.raises(LostLease):
        house.datasets.complete(late.claim, staged=house.staged(), statistics=statistics(), fingerprint="a" * 64)
    assert not (house.root / KIND / f"{late.dataset.id}-1").exists()


def test_a_completion_reported_twice_is_the_same_completion(house: House) -> None:
    house.datasets.create(dataset_spec())
    work = claim(house)
    staged = house.staged()
    first = house.datasets.complete(work.claim, staged=staged, statistics=statistics(), fingerprint="a" * 64)
    again = house.datasets.complete(work.claim, staged=staged, statistics=statistics(), fingerprint="a" * 64)
    assert first == again
    assert house.store.open(KIND, f"{work.dataset.id}-1").is_dir()


def test_a_refused_source_fails_the_dataset_at_once(house: House) -> None:
    house.datasets.create(dataset_spec())
    failure = Failure(code="invalid_source", reason="Column song_id is missing.")
    failed = house.datasets.fail(claim(house).claim, failure, is_final=True)
    assert failed.state is DatasetState.FAILED
    assert failed.failure == failure


def test_a_crash_is_tried_again_until_the_attempts_are_used_up(house: House) -> None:
    house.datasets.create(dataset_spec())
    crash = Failure(code="crashed", reason="signal 11")
    states = [house.datasets.fail(claim(house).claim, crash, is_final=False).state for _ in range(3)]
    assert states == [DatasetState.QUEUED, DatasetState.QUEUED, DatasetState.FAILED]


def test_a_full_disk_uses_up_no_attempt(house: House) -> None:
    house.datasets.create(dataset_spec())
    full = Failure(code="storage_full", reason="No space is left.")
    for _ in range(4):
        waiting = house.datasets.fail(claim(house).claim, full, is_final=False)
        assert (waiting.state, waiting.attempt, waiting.failure) == (DatasetState.QUEUED, 0, full)


def test_a_released_dataset_is_claimed_again_at_no_cost(house: House) -> None:
    house.datasets.create(dataset_spec())
    house.datasets.release(claim(house).claim)
    assert claim(house).claim.attempt == 1


def test_datasets_are_listed_newest_first_in_pages(house: House) -> None:
    made = []
    for number in range(5):
        dataset = house.datasets.create(dataset_spec(f"dataset {number}"))
        assert isinstance(dataset, Dataset)
        made.append(dataset.id)
    first = house.datasets.list(limit=3)
    second = house.datasets.list(limit=3, cursor=first.next_cursor)
    assert [dataset.id for dataset in first.rows + second.rows] == made[::-1]
    assert second.next_cursor is None


def test_what_is_not_there_is_not_found(house: House) -> None:
    with pytest.raises(NotFound, match="dataset"):
        house.datasets.get("dat_none")
    with pytest.raises(NotFound, match="upload"):
        house.datasets.get_upload("upl_none")


def idempotency(body: str) -> Idempotency[Dataset]:
    return Idempotency("key-1", hashlib.sha256(body.encode()).hexdigest(), lambda dataset: {"id": dataset.id})


def test_the_same_key_gives_the_same_answer_and_one_dataset(house: House) -> None:
    first = house.datasets.create(dataset_spec(), idempotency=idempotency("body"))
    assert isinstance(first, Dataset)
    assert house.datasets.create(dataset_spec(), idempotency=idempotency("body")) == Replay({"id": first.id})
    assert len(house.datasets.list(limit=9).rows) == 1


def test_a_key_with_another_body_is_refused(house: House) -> None:
    house.datasets.create(dataset_spec(), idempotency=idempotency("body"))
    with pytest.raises(KeyReused):
        house.datasets.create(dataset_spec(), idempotency=idempotency("another body"))


def test_a_refused_request_does_not_use_up_its_key(house: House) -> None:
    wrong = replace(dataset_spec(), plays=SourceReference(source="elsewhere"))
    with pytest.raises(InvalidRequest):
        house.datasets.create(wrong, idempotency=idempotency("body"))
    assert isinstance(house.datasets.create(dataset_spec(), idempotency=idempotency("other")), Dataset)


def test_a_replayed_upload_leaves_one_file(house: House) -> None:
    key: Idempotency[Upload] = Idempotency("key-2", "0" * 64, lambda stored: {"id": stored.id})
    first = house.datasets.receive_upload([CSV], limit_bytes=1_000, idempotency=key)
    again = house.datasets.receive_upload([CSV], limit_bytes=1_000, idempotency=key)
    assert isinstance(first, Upload)
    assert again == Replay({"id": first.id})
    assert len(uploads(house)) == 1


def test_a_key_with_another_file_is_refused_and_leaves_nothing(house: House) -> None:
    key: Idempotency[Upload] = Idempotency("key-3", "0" * 64, lambda stored: {"id": stored.id})
    house.datasets.receive_upload([CSV], limit_bytes=1_000, idempotency=key)
    with pytest.raises(KeyReused):
        house.datasets.receive_upload([CSV, b"1,d,3\n"], limit_bytes=1_000, idempotency=key)
    assert len(uploads(house)) == 1


def test_a_dataset_whose_upload_is_gone_fails_and_says_so(house: House) -> None:
    stored = upload(house)
    created = house.datasets.create(replace(dataset_spec(), plays=SourceReference(upload_id=stored.id)))
    assert isinstance(created, Dataset)
    house.store.remove_upload(stored.id)
    assert house.datasets.claim("worker") is None
    failed = house.datasets.get(created.id)
    assert failed.state is DatasetState.FAILED
    assert failed.failure is not None
    assert failed.failure.code == "damaged_artifact"


def test_erased_users_are_told_to_whoever_prepares_however_many(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.datasets.ERASURES_AT_ONCE", 2)
    assert house.datasets.erased() == {}
    with house.units() as unit:
        unit.listeners.lock()
        for number in range(5):
            unit.listeners.erase(f"u{number}", at=NOON + timedelta(seconds=number))
        unit.listeners.erase("u0", at=NOON + timedelta(hours=1))
        unit.commit()

    noon_ms = epoch_ms(NOON)
    assert house.datasets.erased() == {
        "u0": noon_ms + 3_600_000,
        **{f"u{number}": noon_ms + number * 1_000 for number in range(1, 5)},
    }
