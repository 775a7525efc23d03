"""The figures of dead pixels: which pixels died, how well they are repaired, and what a method finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, median_filter

from hidra_core import degradations
from hidra_core.evaluation import dead, measures, metrics, runner, tables
from hidra_core.evaluation.tasks import Case, ImageSet, Task


def scene(height: int = 64, width: int = 80) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(0).normal(size=(height, width)), 6)
    levels = 60 + 130 * (field - field.min()) / np.ptp(field)
    return levels.round().astype(np.float32) / 255


class Scenes(ImageSet):
    """One image without a file."""

    def __init__(self) -> None:
        super().__init__({})

    def __getitem__(self, name: str) -> np.ndarray:
        return scene()

    def __iter__(self):
        return iter(["scene"])

    def __len__(self) -> int:
        return 1


def case_of_dead() -> Case:
    return next(Task("dead", Scenes(), seed=4).cases())


def test_the_dead_pixels_are_those_that_the_stage_changed():
    record = degradations.DegradationRecord(seed=7, gaussian_sigma=3.0, dead_fraction=0.01)
    image = torch.from_numpy(scene())[None, None]
    degraded = degradations.apply(image, record)[0, 0].numpy()
    found = dead.dead_map(scene(), record)
    assert found is not None
    assert np.array_equal(found, (degraded == 0) | (degraded == 1))  # nothing else of this scene is black or white
    assert 0 < found.mean() < 0.03
    later = replace(record, sharpen=degradations.Sharpen(1.0, 1.0), jpeg_quality=60)
    softened = dead.dead_map(scene(), later)
    assert softened is not None
    assert np.array_equal(found, softened)
    for unknown in (
        replace(record, dead_fraction=None),
        replace(record, dead_fraction=0.0),
        replace(record, downscale=degradations.Downscale(2, "area")),
    ):
        assert dead.dead_map(scene(), unknown) is None


def test_neighbours_serve_only_while_they_live():
    image = np.arange(49, dtype=np.float64).reshape(7, 7)
    died = np.zeros((7, 7), bool)
    died[0, 0] = True
    died[2:5, 2:5] = True
    filled = dead.with_neighbours_median(image, died)
    assert filled[0, 0] == np.median([1, 7, 8])
    ring = image[1:6, 1:6][~died[1:6, 1:6]]
    assert filled[3, 3] == np.median(ring)  # all of its 3x3 pixels are dead
    assert np.array_equal(filled[~died], image[~died])


def test_figures_of_repairs():
    case = case_of_dead()
    assert case.dead is not None
    assert case.reference is not None
    untouched = dead.scores(metrics.to_8_bit(case.image), case)
    ideal = dead.scores(metrics.to_8_bit(dead.with_neighbours_median(case.image, case.dead)), case)
    true = dead.scores(metrics.to_8_bit(np.where(case.dead, case.reference, case.image)), case)
    assert untouched["dead_error"] > 80
    assert untouched["dead_repaired"] == 0
    assert ideal["dead_error_ratio"] == 1
    assert ideal["dead_repaired"] == 100
    assert true["dead_error"] < 0.5 < ideal["dead_error"] < 5
    assert "dead_found" not in ideal
    # brightness and contrast are the method's affair
    changed = 0.2 + 0.5 * dead.with_neighbours_median(case.image, case.dead)
    assert dead.scores(metrics.to_8_bit(changed), case)["dead_error_ratio"] == pytest.approx(1, abs=0.15)


def test_figures_of_what_is_found():
    case = case_of_dead()
    assert case.dead is not None
    found = case.dead.copy()
    found[tuple(np.argwhere(found)[0])] = False
    found[tuple(np.argwhere(~case.dead)[0])] = True
    figures = dead.scores(metrics.to_8_bit(case.image), case, found)
    number = int(case.dead.sum())
    assert figures["dead_found"] == pytest.approx(100 * (number - 1) / number)
    assert figures["dead_missed"] == 1
    # a dead pixel that has the level of its surroundings is dead, but cannot be seen
    hidden = np.zeros_like(case.dead)
    hidden[tuple(np.argwhere(case.dead)[0])] = True
    filled = dead.with_neighbours_median(case.image, case.dead)
    lucky = replace(case, image=np.where(hidden, filled, case.image))
    seen = dead.scores(metrics.to_8_bit(lucky.image), lucky, case.dead & ~hidden)
    assert (
        seen["dead_found_showing"] == 100 > seen["dead_found"] == figures["dead_found"] == figures["dead_found_showing"]
    )
    assert figures["dead_false"] == pytest.approx(100 / (case.dead.size - number))


def test_methods_that_find_nothing_have_a_dash_and_columns_without_values_are_named():
    class Knowing:
        def __call__(self, image: np.ndarray) -> np.ndarray:
            return self.find(image)[0]

        def find(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return median_filter(image, 3), (image == 0) | (image == 1)

    def run(task: Task, **methods) -> runner.Result:
        columns, _ = measures.choose(task, ["psnr", measures.DEAD_PIXELS], {})
        return runner.run(task, methods, columns)

    about = {"command": "", "machine": "", "models": {}, "conventions": {}, "not_measured": {}}
    result = run(Task("dead", Scenes(), seed=4), knowing=Knowing())
    first, second = (line.split("|")[-5:-1] for line in tables.table(result).splitlines()[2:])
    assert [cell.strip() for cell in first] == ["–", "–", "–", "–"]
    assert [cell.strip() for cell in second] == ["100.0", "100.0", "0.0", "0.0000"]
    means = tables.document([result], about)["tasks"][0]["means"]
    assert "dead_found" not in means["input"]
    assert means["knowing"]["dead_missed"] == 0
    alone = run(Task("dead", Scenes(), seed=4))
    assert [metric.key for metric in alone.metrics] == ["psnr", "dead_error", "dead_error_ratio", "dead_repaired"]
    assert alone.missing["dead_found"] == "no method says which pixels it takes for dead"
    never = run(Task("field", Scenes(), seed=1))
    assert [metric.key for metric in never.metrics] == ["psnr"]
    assert "no draw has dead pixels" in never.missing["dead_error"]
    assert not Task("fpn", Scenes()).has_dead_pixels
