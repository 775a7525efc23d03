"""Records for batches, from flat values and from JSON."""

from __future__ import annotations

import json

import pytest
import torch

from hidra_core.degradations import (
    BATCHES,
    PRESETS,
    DegradationRecord,
    Stripes,
    apply,
    record_by_hand,
    records_from_json,
    sample,
    sample_batch,
)

GREY = torch.full((1, 1, 24, 32), 0.5)


def degraded(records: list[DegradationRecord]) -> torch.Tensor:
    return apply(GREY.expand(len(records), -1, -1, -1), records, to_8_bit=False)


def parameters(record: DegradationRecord) -> dict:
    return {key: value for key, value in record.to_dict().items() if key not in ("seed", "noise_seed")}


def test_one_camera_keeps_stripes_and_dead_pixels_and_not_the_noise() -> None:
    record = DegradationRecord(seed=3, stripes=(Stripes("column", 0.0, 20.0),), gaussian_sigma=1.0, dead_fraction=0.05)
    first, second = degraded(sample_batch(record, 2, 0, "one camera"))
    dead = (first == 0) | (first == 1)
    assert dead.any()
    assert torch.equal(dead, (second == 0) | (second == 1))
    difference = (first - second)[~dead] * 255
    assert 0.8 < difference.std() / 2**0.5 < 1.2


def test_images_of_a_batch_share_what_their_relation_says() -> None:
    for relation in BATCHES:
        records = sample_batch("fpn", 3, 7, relation)
        images = degraded(records)
        assert (parameters(records[0]) == parameters(records[1])) == (relation != "own draws")
        assert torch.equal(images[0], images[1]) == (relation == "same")
        assert records == sample_batch("fpn", 3, 7, relation)
        assert records != sample_batch("fpn", 3, 8, relation)


def test_the_first_image_does_not_depend_on_the_others() -> None:
    for relation in BATCHES:
        (alone,) = sample_batch("composite", 1, 5, relation)
        assert sample_batch("composite", 40, 5, relation)[0] == alone
        assert parameters(alone) == parameters(sample("composite", torch.Generator().manual_seed(5)))


def test_records_drawn_from_a_preset_have_no_noise_seed() -> None:
    record = sample("fpn", torch.Generator().manual_seed(0))
    assert record.noise_seed is None
    assert "noise_seed" not in record.to_dict()


def test_bad_relations_are_refused() -> None:
    with pytest.raises(ValueError, match="relation must be one of"):
        sample_batch("fpn", 1, 0, "cousins")
    with pytest.raises(ValueError, match="a record cannot be drawn from"):
        sample_batch(DegradationRecord(), 2, 0, "own draws")


def test_a_record_without_stages_changes_nothing() -> None:
    record = record_by_hand(seed=4)
    assert record == DegradationRecord(seed=4)
    assert torch.equal(apply(GREY, record, to_8_bit=False), GREY)


def test_every_stage_can_be_set_by_hand() -> None:
    record = record_by_hand(
        contrast_alpha=0.5,
        contrast_beta=0.2,
        blur_sigma_x=1.0,
        blur_sigma_y=2.0,
        low_resolution="2",
        optical_strength=20.0,
        stripes="both",
        gaussian_sigma=5.0,
        poisson_scale=0.1,
        dead_fraction=0.01,
        sharpen_amount=0.5,
        jpeg_quality=80,
    )
    assert all(value for name, value in vars(record).items() if name not in ("seed", "noise_seed"))
    assert [lines.axis for lines in record.stripes] == ["row", "column"]
    assert torch.isfinite(apply(torch.rand(1, 1, 24, 32), record)).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_records_come_back_from_json(preset: str) -> None:
    records = sample_batch(preset, 3, 1, "own draws")
    assert records_from_json(json.dumps([record.to_dict() for record in records])) == records
    assert records_from_json(json.dumps(records[0].to_dict())) == records[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "parameters is not JSON"),
        ("3", "must be a JSON object, or a list"),
        ("[]", "must be a JSON object, or a list"),
        ('{"smoke": 1}', "unknown entries: smoke"),
        ('{"stripes": 5}', "not a degradation record"),
        ('{"gaussian_sigma": "much"}', "a value that cannot be used"),
        ('{"blur": {"kernel": 4, "sigma_x": 1, "sigma_y": 1, "angle": 0}}', "kernel must be odd"),
    ],
)
def test_bad_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        records_from_json(text)
