"""The Gaussian that can be stopped is SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hidra_core.images.smoothing import gaussian


@pytest.mark.parametrize(("mode", "truncate"), [("reflect", 4.0), ("nearest", 3.0)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_it_is_scipys_to_the_bit(mode: str, truncate: float, kind: type) -> None:
    plane = np.random.default_rng(0).normal(size=(300, 131)).astype(kind)
    expected = gaussian_filter(plane, 7.5, mode=mode, truncate=truncate)
    result = gaussian(plane, 7.5, mode=mode, truncate=truncate)
    assert result.dtype == kind
    assert np.array_equal(result, expected)
