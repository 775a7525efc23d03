"""Pictures for docs/use/sensor.md: each part of the sensor stage before and after, on rendered scenes.

python benchmarks/sensor_pictures.py docs/images/sensor.jpg
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import options_of

from hidra_core import scenes
from hidra_core.evaluation.sheets import sheet
from hidra_core.images.files import atomic_path
from hidra_core.sensor import SensorSettings, undo_sensor

HEIGHT, WIDTH = 240, 320
CROP = (slice(0, 150), slice(60, 260))
"""Part of the frame in which single pixels can be seen."""


def main() -> None:
    """Draw the sheet."""
    parser = options_of(__doc__)
    parser.add_argument("output", type=Path, help="picture to write")
    output = parser.parse_args().output
    rng = np.random.default_rng(5)
    street, night, substation = (
        255 * scenes.render(name, HEIGHT, WIDTH, 3).astype(float) for name in scenes.SCENES[:3]
    )
    draw = rng.random(street.shape)
    dead = np.where(draw < 0.003, 0, np.where(draw > 0.997, 255, street + rng.normal(0, 2, street.shape)))
    striped = night * (1 + rng.normal(0, 0.05, WIDTH)) + rng.normal(0, 5, WIDTH) + rng.normal(0, 4, night.shape)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    shaded = substation - 30 * (x**2 + y**2) + 15
    rows = [
        row("dead pixels", dead, SensorSettings("auto", "off", "off"), CROP),
        row("stripes", striped, SensorSettings("off", "auto", "off")),
        row("shading", shaded, SensorSettings("off", "off", "on")),
        row("all of it", 0.5 * dead + 0.5 * striped - 20 * (x**2 + y**2), SensorSettings()),
    ]
    with atomic_path(output) as temporary:
        sheet(rows, width=360).save(temporary, quality=88)


def row(
    name: str, frame: np.ndarray, settings: SensorSettings, part: tuple[slice, slice] = (slice(None), slice(None))
) -> tuple[str, dict[str, np.ndarray]]:
    """A frame before and after, and what was taken off, around middle grey."""
    frame = np.round(frame.clip(0, 255))
    result, found = undo_sensor(frame, settings)
    planes = {"before": frame, "after": result, "taken off": 128 + 2 * (frame - result)}
    return f"{name}: {found.summary()}", {key: (plane[part] / 255).clip(0, 1) for key, plane in planes.items()}


if __name__ == "__main__":
    main()
