"""Images in memory before the sensor stage: what it changes in them, what it leaves, in levels and in counts."""

import numpy as np
import pytest
import torch
from helpers import thermal_files
from helpers.thermal_files import frame

from hidra_core.degradations import apply
from hidra_core.degradations.batches import record_by_hand
from hidra_core.scenes import render
from hidra_core.sensor import CameraProfile, SensorSettings, SensorStage, Unit, undo_sensor
from hidra_core.sources import Reading, open_source
from hidra_core.sources.batch import ImageBatch
from hidra_core.thermal.readers import read_thermal

HEIGHT, WIDTH = 96, 128
OFF = SensorSettings("off", "off", "off")


def clean(seed: int = 1) -> torch.Tensor:
    return 0.1 + 0.8 * torch.from_numpy(render("street", HEIGHT, WIDTH, seed))[None, None]


def striped(seed: int = 1) -> torch.Tensor:
    """``[1, H, W, 3]``."""
    record = record_by_hand(seed=seed, stripes="column", stripe_offset=8, gaussian_sigma=2, dead_fraction=0.002)
    return apply(clean(seed), record).movedim(1, -1).expand(-1, -1, -1, 3)


def smooth() -> torch.Tensor:
    """``[1, H, W, 3]``, in which there is nothing to undo."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 20
    return torch.from_numpy((0.5 + 0.2 * np.sin(x) * np.cos(y)).astype(np.float32))[None, ..., None].repeat(1, 1, 1, 3)


def profile(columns: np.ndarray, unit: Unit) -> CameraProfile:
    """Of 48 rows."""
    zeros = np.zeros((48, len(columns)))
    return CameraProfile(zeros > 0, columns, np.zeros(48), zeros, zeros, unit)


def test_an_image_goes_through_the_stage_as_a_file_does():
    image = striped()
    (corrected,) = ImageBatch(image).undone(SensorStage())
    expected, found = undo_sensor(image[0, ..., 0].numpy() * np.float32(255))
    assert corrected.found is not None
    assert corrected.found.columns.std() > 4
    assert np.array_equal(corrected.found.columns, found.columns)
    assert corrected.image.shape == image.shape[1:]
    assert np.abs(corrected.image[..., 1].numpy() * 255 - expected.clip(0, 255)).max() < 1e-3
    assert torch.equal(corrected.judged, image[0])  # no shading was taken off


def test_the_dem_judges_images_without_the_shading_that_was_taken_off():
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 100
    shading, columns = 20 * x * y, np.random.default_rng(3).normal(0, 4, WIDTH)
    zeros = np.zeros((HEIGHT, WIDTH))
    camera = CameraProfile(zeros > 0, columns, np.zeros(HEIGHT), zeros, zeros, "grey levels", shading=shading)
    (corrected,) = ImageBatch(smooth()).undone(SensorStage(OFF, camera))
    given = smooth()[0].numpy() * 255
    assert np.abs(corrected.judged.numpy() * 255 - (given - shading[..., None])).max() < 1e-3
    assert np.abs(corrected.image.numpy() * 255 - (given - (shading + columns)[..., None])).max() < 1e-3


def test_what_is_clean_or_coloured_stays_as_it_is():
    grey = smooth()
    colours = torch.stack([grey[0, ..., 0], 1 - grey[0, ..., 0], grey[0, ..., 0] / 2], -1)
    results = list(ImageBatch(torch.cat([grey, colours[None]])).undone(SensorStage()))
    assert [None if one.found is None else one.found.is_empty for one in results] == [True, None]
    for one, given in zip(results, (grey[0], colours), strict=True):
        assert torch.equal(one.image, given)
        assert torch.equal(one.judged, given)


def test_frames_in_order_share_what_they_agree_on():
    frames = torch.cat([striped()] * 6)
    frames[3] = smooth()[0]  # as if its stripes were not found
    alone, together = (
        [one.found.columns.std() for one in ImageBatch(frames).undone(SensorStage(), in_order=in_order)]
        for in_order in (False, True)
    )
    assert alone[3] == 0
    assert together[3] > 4


def test_eight_bits_are_whole_levels_for_a_calibration():
    counts = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 256
    image = torch.from_numpy((counts / 255).astype(np.float32))[None, ..., None]
    (plane,) = ImageBatch(image)
    assert np.array_equal(plane, counts)
    coloured = torch.cat([image, 1 - image, image], -1)
    with pytest.raises(ValueError, match="image 1 of 1 has colours that are no grey"):
        list(ImageBatch(coloured))


def test_counts_are_seen_with_the_file(tmp_path):
    first, columns = frame(), 20 * np.random.default_rng(2).normal(0, 1, 64)
    thermal_files.tiff_pages(tmp_path / "a.tiff", [np.rint(first + columns).astype(np.uint16)] * 2)
    source = open_source(tmp_path / "a.tiff", Reading(as_counts=True))
    images = torch.stack([page.expand(-1, -1, 3) for page in source.pages()])
    batch = ImageBatch(images, source)
    assert (batch.unit, batch.size) == ("counts", (64, 48))
    assert np.array_equal(next(iter(batch)), read_thermal(tmp_path / "a.tiff").counts[0])
    known = profile(columns, "counts")
    batch.check(known)
    corrected, _ = batch.undone(SensorStage(OFF, known))
    counts = source.mapping.to_counts(corrected.image[..., 0])
    assert np.abs(counts - first)[8:-8, 8:-8].max() < 1.0
    with pytest.raises(ValueError, match="in counts, and images alone have grey levels"):
        ImageBatch(images).check(known)
    with pytest.raises(ValueError, match="1 images of 64x48 were given for .*a.tiff, which has 2 of 64x48"):
        ImageBatch(images[:1], source)
    with pytest.raises(ValueError, match="in grey levels, and this file in counts"):
        batch.check(profile(columns, "grey levels"))


def test_a_profile_of_another_size_is_refused():
    with pytest.raises(ValueError, match="for frames of 64x48, and this one is 128x96"):
        ImageBatch(striped()).check(profile(np.ones(64), "grey levels"))
