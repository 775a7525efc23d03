"""FLIR's radiometric chain."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.thermal_files import PLANCK, fff, frame

from hidra_core.thermal.radiometry import ObjectParameters, RadiometricChain
from hidra_core.thermal.readers import read_thermal

PARAMETERS = ObjectParameters(
    emissivity=0.95,
    reflected_temperature=294.14,
    atmospheric_temperature=287.14,
    relative_humidity=0.49,
    object_distance=2.0,
    ir_window_temperature=292.14,
    ir_window_transmission=0.98,
)
COUNTS = np.array([16000, 17000, 18000, 20000, 24000])


@pytest.mark.parametrize(
    ("changes", "kelvin"),
    [  # what flyr 5.1.0 gives for these counts, constants and parameters
        ({}, [284.6346, 290.6804, 296.3841, 306.957, 325.638]),
        (
            {"emissivity": 0.6, "reflected_temperature": 310.0},
            [264.119, 275.7582, 286.0341, 303.8509, 332.9443],
        ),
        (
            {"object_distance": 100.0, "relative_humidity": 0.9, "atmospheric_temperature": 303.15},
            [280.7609, 288.0732, 294.8798, 307.3109, 328.8556],
        ),
        (
            {"ir_window_transmission": 0.7, "ir_window_temperature": 315.0},
            [267.6058, 277.5801, 286.5527, 302.3789, 328.6926],
        ),
    ],
)
def test_temperatures_are_flyrs(changes, kelvin):
    chain = RadiometricChain(PLANCK, replace(PARAMETERS, **changes))
    assert np.abs(chain.kelvin(COUNTS) - kelvin).max() < 2e-3


def test_the_way_back_gives_the_counts():
    counts = np.linspace(14000, 30000, 24).reshape(2, 3, 4)
    chain = RadiometricChain(PLANCK, PARAMETERS)
    assert np.allclose(chain.counts(chain.kelvin(counts)), counts, rtol=0, atol=1e-6)


def test_a_black_body_close_by_has_its_apparent_temperature():
    close = ObjectParameters(1.0, 300.0, 280.0, 0.5, 0.0)
    assert np.allclose(RadiometricChain(PLANCK, close).kelvin(COUNTS), PLANCK.kelvin(COUNTS), rtol=0, atol=1e-9)


@pytest.mark.parametrize("emissivity", [0.1, 0.9])
def test_where_all_is_equally_warm_nothing_changes_the_count(emissivity):
    warm = 305.0
    same = ObjectParameters(emissivity, warm, warm, 0.7, 30.0, warm, 0.6)
    count = RadiometricChain(PLANCK, replace(same, emissivity=1.0, object_distance=0.0)).counts(np.array(warm))
    assert RadiometricChain(PLANCK, same).kelvin(count) == pytest.approx(warm, abs=1e-6)


def test_a_window_of_unknown_temperature_is_as_warm_as_the_air():
    given = replace(PARAMETERS, ir_window_temperature=PARAMETERS.atmospheric_temperature)
    open_ = replace(PARAMETERS, ir_window_temperature=None)
    assert np.array_equal(
        RadiometricChain(PLANCK, open_).kelvin(COUNTS), RadiometricChain(PLANCK, given).kelvin(COUNTS)
    )


def test_a_count_below_the_surroundings_has_no_temperature():
    mirror = replace(PARAMETERS, emissivity=0.05)
    assert np.isnan(RadiometricChain(PLANCK, mirror).kelvin(np.array([10000]))).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emissivity": 0.0}, "emissivity must be above 0 and at most 1, got 0"),
        ({"emissivity": 95.0}, "emissivity must be above 0 and at most 1, got 95"),
        ({"emissivity": math.nan}, "emissivity"),
        ({"ir_window_transmission": 0.0}, "window transmission must be above 0"),
        ({"relative_humidity": 50.0}, r"relative humidity must be between 0 and 1 \(0.5 for 50 %\), got 50"),
        ({"object_distance": -1.0}, "object distance must be at least 0 m, got -1"),
        ({"object_distance": math.inf}, "object distance"),
        ({"reflected_temperature": 20.0}, "reflected temperature must be in kelvin.*got 20"),
        ({"atmospheric_temperature": 0.0}, "atmospheric temperature must be in kelvin"),
        ({"ir_window_temperature": math.nan}, "window temperature must be in kelvin"),
        ({"object_distance": 1e7}, "the air of 1e\\+07 m would let through"),
        ({"atmospheric_temperature": 2000.0}, "the air of 2 m would let through"),
        ({"atmospheric_beta1": math.nan}, "would let through nan"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(PARAMETERS, **changes)


def test_parameters_of_a_file_and_the_users_own(tmp_path):
    floats = {40: 294.14, 44: 287.14, 48: 292.14, 52: 0.98, 60: 49.0}  # humidity in per cent, as some files hold it
    floats |= {112: 0.006569, 116: 0.01262, 120: -0.002276, 124: -0.00667, 128: 1.9}
    (tmp_path / "a.fff").write_bytes(fff(frame(), floats=floats))
    image = read_thermal(tmp_path / "a.fff")
    read = ObjectParameters.from_parameters(image.parameters)
    for name, value in vars(PARAMETERS).items():
        assert getattr(read, name) == pytest.approx(value, abs=1e-4), name
    assert ObjectParameters.from_parameters(image.parameters, emissivity=None) == read
    assert ObjectParameters.from_parameters(image.parameters, emissivity=0.5) == replace(read, emissivity=0.5)


def test_a_file_without_a_window_states_none(tmp_path):
    (tmp_path / "a.fff").write_bytes(fff(frame(), floats={40: 294.14, 44: 287.14, 60: 0.49}))
    parameters = read_thermal(tmp_path / "a.fff").parameters
    assert ObjectParameters.from_parameters(parameters).ir_window_transmission == 1


def test_missing_and_unknown_parameters_are_named():
    with pytest.raises(ValueError, match="need the emissivity, atmospheric temperature, .*does not state; give them"):
        ObjectParameters.from_parameters({"reflected_temperature": 290.0})
    with pytest.raises(ValueError, match="unknown parameters emisivity; known are emissivity"):
        ObjectParameters.from_parameters({}, emisivity=0.9)
