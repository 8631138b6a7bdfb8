from dataclasses import FrozenInstanceError

import pytest

from app.domain.measurement import EpochMeasurement, Estimate, Measurement, Scores

NONE = Scores(hit_ratio=None, ndcg=None, objective=None, n_pairs=0, n_unknown_query=0, n_unknown_target=0, n_repeats=0)


def test_a_measurement_knows_no_breadth_or_segments_unless_told() -> None:
    measurement = Measurement(k=10, overall=NONE)
    assert measurement.segments == {}
    assert measurement.coverage is measurement.popularity is None


@pytest.mark.parametrize(
    "value", [Estimate(0.5, 0.4, 0.6, 10), NONE, EpochMeasurement(epoch=1, train_s=2, scores=NONE)]
)
def test_measured_values_do_not_change(value: object) -> None:
    name = next(iter(value.__class__.__slots__))  # type: ignore[attr-defined]  # all three are slotted
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)
