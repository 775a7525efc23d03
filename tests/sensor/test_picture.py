"""The picture of a camera profile."""

import numpy as np
import pytest

from hidra_core.sensor import CameraProfile
from hidra_core.sensor.picture import profile_picture

SIZE = (192, 256)  # of a panel that is shown as large as it is
WARM, COLD = (255, 120, 40), (60, 140, 255)


@pytest.mark.parametrize("with_gain", [False, True])
def test_every_part_has_its_panel(with_gain):
    zeros = np.zeros(SIZE)
    dead, pattern, gain = zeros > 0, zeros.copy(), zeros + 1
    dead[100, 30] = True
    pattern[20:40, 50:80], pattern[60:80, 50:80], gain[120:140, 90:120] = 5, -5, 1.1
    profile = CameraProfile(
        dead, np.zeros(256), np.zeros(192), pattern, zeros + 1, "counts", gain=gain if with_gain else None
    )
    picture = np.asarray(profile_picture(profile))
    panels = [picture[top : top + 192, left : left + 256] for top, left in ((44, 4), (44, 264))]
    assert tuple(panels[0][30, 60]) == WARM
    assert tuple(panels[0][70, 60]) == COLD
    assert tuple(panels[1][130, 100]) == WARM
    assert (tuple(panels[1][30, 60]) == WARM) != with_gain  # the error is the same everywhere, the gain is not
    below = picture[280:472]
    assert tuple(below[100, 264 + 30] if with_gain else below[100, 4 + 30]) == (255, 255, 255)
    assert below[:, 264:520].mean() > 250 if not with_gain else below[:, 264:520].mean() < 40
