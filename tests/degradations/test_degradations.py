"""Degradations against small NumPy references, and the records and presets that drive them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hidra_core import degradations as deg

SIZES = [(1, 1), (7, 5), (64, 80)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(batch: int = 1, channels: int = 1, height: int = 64, width: int = 80, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, channels, height, width, generator=seeded(seed))


def grey(level: float, height: int = 200, width: int = 200) -> torch.Tensor:
    return torch.full((1, 1, height, width), level / 255)


def full_record() -> deg.DegradationRecord:
    """Every stage at once."""
    return deg.DegradationRecord(
        seed=5,
        low_contrast=deg.LowContrast(0.6, 0.2),
        blur=deg.Blur(9, 2.0, 1.0, 30.0),
        downscale=deg.Downscale(2, "cubic", "cubic"),
        optical=deg.Optical(0.4, 0.6, 40, True, "mirror"),
        stripes=(deg.Stripes("row", 0.05, 2.0), deg.Stripes("column", 0.03, 1.0)),
        gaussian_sigma=8.0,
        poisson_scale=0.5,
        dead_fraction=0.01,
        sharpen=deg.Sharpen(0.8, 1.2),
        jpeg_quality=70,
    )


# --- stage functions -------------------------------------------------------------------------------------------------


def test_low_contrast_values():
    x = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    np.testing.assert_allclose(deg.low_contrast(x, 0.5, 0.3).flatten(), [0.3, 0.55, 0.8], atol=1e-6)
    np.testing.assert_allclose(deg.low_contrast(x, 1.0, -0.3).flatten(), [-0.3, 0.2, 0.7], atol=1e-6)


@pytest.mark.parametrize("angle", [-90.0, -37.0, 0.0, 25.0])
def test_gaussian_kernel_matches_covariance_form(angle):
    size, sx, sy = 11, 2.5, 1.2
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    precision = np.linalg.inv(rotation @ np.diag([sx**2, sy**2]) @ rotation.T)
    want = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            v = np.array([column - 5, row - 5])
            want[row, column] = np.exp(-0.5 * v @ precision @ v)
    kernel = deg.gaussian_kernel(size, sx, sy, angle)
    np.testing.assert_allclose(kernel, want / want.sum(), atol=1e-7)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("angle", "spread"), [(0, "columns"), (90, "rows"), (45, "falling diagonal")])
def test_blur_orientation(angle, spread):
    point = torch.zeros(1, 1, 15, 15)
    point[..., 7, 7] = 1
    y = deg.gaussian_blur(point, 13, 3.0, 1.0, angle)[0, 0]
    reach = {"columns": y[7, 10], "rows": y[10, 7], "falling diagonal": y[10, 10], "rising diagonal": y[4, 10]}
    assert max(reach, key=reach.get) == spread


def test_blur_keeps_constants_and_replicates_the_border():
    np.testing.assert_allclose(deg.gaussian_blur(grey(77, 9, 4), 23, 3.0, 2.0, 10), 77 / 255, atol=1e-6)
    x, kernel = frames(2, 3, 6, 5), deg.gaussian_kernel(7, 1.0, 2.0, 20).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
    want = sum(kernel[i, j] * padded[..., i : i + 6, j : j + 5] for i in range(7) for j in range(7))
    np.testing.assert_allclose(deg.gaussian_blur(x, 7, 1.0, 2.0, 20), want, atol=1e-6)


def test_downscale_values_and_sizes():
    x = frames(1, 1, 8, 12)
    block_means = x.numpy().reshape(1, 1, 4, 2, 6, 2).mean((3, 5))
    np.testing.assert_allclose(deg.downscale(x, 2, "area"), block_means, atol=1e-6)
    # Half-pixel centres: factor 4 lands between the second and third pixel of each four, no antialiasing.
    middle = x.numpy()[..., 1::4, :] + x.numpy()[..., 2::4, :]
    middle = (middle[..., 1::4] + middle[..., 2::4]) / 4
    np.testing.assert_allclose(deg.downscale(x, 4, "linear"), middle, atol=1e-6)
    assert deg.downscale(frames(1, 1, 7, 5), 4, "cubic").shape == (1, 1, 2, 1)
    assert deg.downscale(frames(1, 1, 1, 1), 4).shape == (1, 1, 1, 1)
    assert torch.equal(deg.downscale(x, 1, "cubic"), x)
    assert deg.resize_back(deg.downscale(x, 2), 8, 12).shape == x.shape


@pytest.mark.parametrize("form", deg.OPTICAL_FORMS)
def test_optical_field_formula(form):
    height, width, cy, cx = 48, 60, 20.0, 35.5
    y, x = np.mgrid[:height, :width].astype(np.float64)
    d1 = np.hypot(y - cy, x - cx)
    if form == "mirror":
        mirrors = [(cy, -3 * cx), (-3 * cy, cx), (5 * cy, cx), (cy, 5 * cx)]
        d2 = np.min([np.hypot(y - my, x - mx) for my, mx in mirrors], axis=0)
        want = -np.log(d2 / np.maximum(d1, 10))
        want = ((want - want.min()) / (want.max() - want.min())) ** 4
    else:
        want = np.cos(d1 / d1.max() * np.pi / 2) ** 4
    field = deg.optical_field(height, width, cy, cx, form)
    assert field.shape == (1, 1, height, width)
    np.testing.assert_allclose(field[0, 0], want, atol=2e-6)


def test_optical_nonuniformity_scale_and_inversion():
    x = grey(100, 40, 50)
    field = deg.optical_field(40, 50, 20.0, 25.0)
    plain = deg.optical_nonuniformity(x, 0.5, 0.5, 30) * 255
    inverted = deg.optical_nonuniformity(x, 0.5, 0.5, 30, inverted=True) * 255
    np.testing.assert_allclose(plain, 100 + 30 * field - 15, atol=1e-4)
    np.testing.assert_allclose(inverted, 100 + 30 * (1 - field) - 15, atol=1e-4)
    older = deg.optical_nonuniformity(x, 0.5, 0.5, 30, form="cos4") * 255
    np.testing.assert_allclose(older, 100 + 30 * deg.optical_field(40, 50, 20.0, 25.0, "cos4"), atol=1e-4)


@pytest.mark.parametrize("axis", deg.AXES)
def test_stripes_formula(axis):
    x = frames(2, 3, 6, 9)
    shape = (2, 1, 6, 1) if axis == "row" else (2, 1, 1, 9)
    generator = seeded(4)
    gain, offset = (torch.randn(shape, generator=generator).numpy() for _ in range(2))
    want = x.numpy() * (1 + 0.08 * gain) + 3 / 255 * offset
    np.testing.assert_allclose(deg.stripes(x, axis, 0.08, 3.0, seeded(4)), want, atol=1e-6)


def test_noise_statistics():
    gaussian = (deg.gaussian_noise(grey(120), 7.0, seeded()) * 255).numpy()
    assert gaussian.mean() == pytest.approx(120, abs=0.2)
    assert gaussian.std() == pytest.approx(7, rel=0.02)
    for level in (25, 200):
        poisson = (deg.poisson_noise(grey(level), 0.6, seeded()) * 255).numpy()
        assert poisson.mean() == pytest.approx(level, abs=0.2)
        assert poisson.std() == pytest.approx(0.6 * math.sqrt(level), rel=0.02)


def test_dead_pixels_are_stuck_at_both_ends():
    x = grey(120)
    y = deg.dead_pixels(x, 0.02, seeded())
    assert (y == 0).float().mean().item() == pytest.approx(0.01, rel=0.3)
    assert (y == 1).float().mean().item() == pytest.approx(0.01, rel=0.3)
    assert set(y.unique().tolist()) == {0.0, x.max().item(), 1.0}
    assert torch.equal(deg.dead_pixels(x, 0.0, seeded()), x)


def test_sharpen_overshoots_on_both_sides_of_an_edge():
    x = torch.full((1, 1, 5, 40), 0.3)
    x[..., 20:] = 0.7
    y = deg.sharpen(x, 1.0, 1.5)[0, 0, 2]
    assert y[19] < 0.25
    assert y[20] > 0.75
    np.testing.assert_allclose(y[[0, 39]], [0.3, 0.7], atol=1e-5)


def test_jpeg_quality_orders_the_error():
    x = deg.quantise(deg.gaussian_blur(frames(2, 3, 40, 48), 7, 1.0, 1.0))
    coarse, fine = (deg.jpeg(x, quality) for quality in (20, 95))
    assert coarse.shape == x.shape
    assert 0 < (fine - x).abs().mean() < (coarse - x).abs().mean() < 0.1
    assert torch.equal(deg.quantise(fine), fine)


def test_quantise_values():
    x = torch.tensor([[[[-0.2, 0.4 / 255, 0.6 / 255, 1.3]]]])
    np.testing.assert_allclose(deg.quantise(x).flatten() * 255, [0, 0, 1, 255], atol=1e-5)


@pytest.mark.parametrize(
    "field", [lambda x, g: deg.gaussian_noise(x, 9.0, g), lambda x, g: deg.stripes(x, "row", 0.1, 5.0, g)]
)
def test_grey_over_three_channels_stays_grey(field):
    y = field(frames().expand(1, 3, 64, 80), seeded())
    assert torch.equal(y[:, 0], y[:, 1])
    assert torch.equal(y[:, 0], y[:, 2])


# --- records, presets ------------------------------------------------------------------------------------------------


def test_apply_is_the_stages_in_order_clipped_and_quantised_once():
    record = replace(full_record(), downscale=None, stripes=(), poisson_scale=None, dead_fraction=None, sharpen=None)
    record = replace(record, jpeg_quality=None)
    x = frames()
    want = deg.low_contrast(x, 0.6, 0.2).clamp(0, 1)
    want = deg.gaussian_blur(want, 9, 2.0, 1.0, 30.0).clamp(0, 1)
    want = deg.optical_nonuniformity(want, 0.4, 0.6, 40, True).clamp(0, 1)
    want = deg.gaussian_noise(want, 8.0, seeded(5)).clamp(0, 1)
    assert torch.equal(deg.apply(x, record, to_8_bit=False), want)
    assert torch.equal(deg.apply(x, record), deg.quantise(want))


def test_stages_saturate():
    lifted = deg.DegradationRecord(low_contrast=deg.LowContrast(1.0, 0.5), blur=deg.Blur(7, 1.0, 1.0, 0.0))
    assert deg.apply(grey(200, 8, 8), lifted).eq(1).all()


def test_same_record_same_bits_alone_and_in_a_batch():
    x, one, other = frames(2), full_record(), replace(full_record(), seed=6, downscale=None)
    shared, mixed = deg.apply(x, one), deg.apply(x, [one, other])
    assert torch.equal(deg.apply(x, one), shared)
    for i in range(2):
        assert torch.equal(deg.apply(x[i : i + 1], one)[0], shared[i])
    assert torch.equal(mixed[0], shared[0])
    assert torch.equal(deg.apply(x[1:], other)[0], mixed[1])
    assert not torch.equal(deg.apply(x, replace(one, seed=6)), shared)


def test_apply_leaves_its_input_and_the_global_generator_alone():
    x = frames()
    before, state = x.clone(), torch.get_rng_state()
    deg.apply(x, full_record())
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_identity_record_keeps_an_8_bit_image():
    x = deg.quantise(frames())
    assert torch.equal(deg.apply(x, deg.DegradationRecord()), x)


@pytest.mark.parametrize("preset", deg.PRESETS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_presets_run_on_any_size(preset, height, width):
    generator = seeded(1)
    x = frames(2, 1, height, width)
    for _ in range(6):
        y = deg.apply(x, [deg.sample(preset, generator) for _ in range(2)])
        assert y.shape == x.shape
        assert y.dtype == torch.float32
        assert y.min() >= 0
        assert y.max() <= 1
        np.testing.assert_allclose(y * 255, (y * 255).round(), atol=1e-4)


@pytest.mark.parametrize("preset", deg.PRESETS)
def test_json_round_trip(preset):
    generator = seeded(2)
    for record in [deg.sample(preset, generator) for _ in range(20)] + [full_record(), deg.DegradationRecord()]:
        assert deg.DegradationRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_sampling_is_reproducible():
    draws = [[deg.sample("field", generator) for _ in range(5)] for generator in (seeded(3), seeded(3))]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 5


def test_hard_has_every_stage_of_the_older_pipeline():
    generator = seeded()
    records = [deg.sample("hard", generator) for _ in range(50)]
    for record in records:
        assert None not in (record.low_contrast, record.blur, record.optical, record.gaussian_sigma)
        assert record.stripes
        assert (record.downscale, record.poisson_scale, record.optical.form) == (None, None, "cos4")
        assert record.optical.strength >= 40
        assert record.gaussian_sigma >= 8
        assert record.low_contrast.alpha <= 0.5


def test_fading_below_and_real_clipping():
    grey = frames(1, 1, 32, 32) * 0.8 + 0.1
    generator = seeded()
    for preset, low, high in (("dark", 0.0, 0.5), ("clipped", 1.05, 2.0)):
        records = [deg.sample(preset, generator) for _ in range(60)]
        spread = [record.low_contrast.alpha for record in records]
        assert low < sum(spread) / len(spread) < high
        seen = torch.cat([deg.apply(grey, deg.DegradationRecord(low_contrast=r.low_contrast)) for r in records])
        black, white = (seen == 0).float().mean(), (seen == 1).float().mean()
        assert black > 0.005
        assert white > 0.005 or preset == "dark"


def test_composite_follows_the_method():
    generator = seeded()
    records = [deg.sample("composite", generator) for _ in range(1500)]

    def present(values):
        kept = [value for value in values if value is not None and value != ()]
        return kept, len(kept) / len(records)

    contrast, p_contrast = present([r.low_contrast for r in records])
    blurs, p_blur = present([r.blur for r in records])
    downs, p_down = present([r.downscale for r in records])
    fields, p_field = present([r.optical for r in records])
    lines, p_lines = present([r.stripes for r in records])
    sigmas, p_gaussian = present([r.gaussian_sigma for r in records])
    scales, p_poisson = present([r.poisson_scale for r in records])
    for p, want in [
        (p_contrast, 0.7),
        (p_blur, 0.7),
        (p_down, 0.7 * 2 / 3),
        (p_field, 0.7),
        (p_lines, 0.7),
        (p_gaussian, 0.35),
        (p_poisson, 0.35),
    ]:
        assert p == pytest.approx(want, abs=0.05)

    def spans(values, low, high):
        slack = 0.05 * (high - low)
        return low <= min(values) <= low + slack and high - slack <= max(values) <= high

    assert spans([c.alpha for c in contrast], 0.2, 0.8)
    assert spans([c.beta for c in contrast], 0.2, 0.4)
    assert {b.kernel for b in blurs} == set(range(7, 24, 2))
    assert spans([b.sigma_x for b in blurs], 1, 3)
    assert spans([b.sigma_y for b in blurs], 1, 3)
    assert spans([b.angle for b in blurs], -90, 90)
    assert {(d.factor, d.filter, d.back) for d in downs} == {(k, f, "linear") for k in (2, 4) for f in deg.FILTERS}
    assert {f.strength for f in fields} == set(range(15, 76))
    assert {f.inverted for f in fields} == {False, True}
    assert spans([f.centre_y for f in fields], 0.25, 0.75)
    assert spans([f.centre_x for f in fields], 0.25, 0.75)
    assert {len(some) for some in lines} == {1}
    assert {some[0].axis for some in lines} == set(deg.AXES)
    assert spans([some[0].gain_sigma for some in lines], 0.03, 0.1)
    assert spans([some[0].offset_sigma for some in lines], 0.1, 5)
    assert spans(sigmas, 5, 20)
    assert np.mean(np.square(sigmas)) == pytest.approx((25 + 400) / 2, rel=0.1)
    assert spans(scales, 0.01, 1.5)
    assert all(r.dead_fraction is r.sharpen is r.jpeg_quality is None for r in records)


def test_field_preset_covers_real_cameras():
    generator = seeded()
    records = [deg.sample("field", generator) for _ in range(600)]
    contrast = [r.low_contrast for r in records if r.low_contrast]
    assert min(c.beta for c in contrast) < -0.1
    assert all(c.beta >= -0.3 * c.alpha for c in contrast)
    assert all(0.5 <= r.gaussian_sigma <= 4 for r in records if r.gaussian_sigma is not None)
    assert {tuple(line.axis for line in r.stripes) for r in records} == {(), ("row",), ("column",), deg.AXES}
    assert max(r.dead_fraction or 0 for r in records) <= 0.003
    assert any(r.downscale and not r.blur for r in records)
    for stage in ("dead_fraction", "sharpen", "jpeg_quality", "poisson_scale", "optical"):
        assert any(getattr(r, stage) is not None for r in records)
    untouched = [r for r in records if r == deg.DegradationRecord(seed=r.seed)]
    assert len(untouched) / len(records) == pytest.approx(0.1, abs=0.05)


def test_other_presets_hold_only_their_stages():
    generator = seeded()
    for _ in range(30):
        fpn = deg.sample("fpn", generator)
        assert fpn.optical
        assert fpn.stripes
        assert not fpn.low_contrast
        assert not fpn.blur
        assert not fpn.downscale
        for factor in (2, 4):
            record = deg.sample(f"sr-x{factor}", generator)
            assert record.blur
            assert record.downscale.factor == factor
            assert 0.5 <= record.gaussian_sigma <= 4
            assert not record.optical
            assert not record.stripes
        older = deg.sample("hm-tir", generator)
        assert older.downscale is older.poisson_scale is None
        assert older.optical is None or older.optical.form == "cos4"


def test_severities_are_ordered():
    scene = deg.gaussian_blur(frames(1, 1, 96, 96), 9, 2.0, 2.0)
    scene = (scene - scene.min()) / (scene.max() - scene.min())
    errors = []
    for preset in ("mild", "moderate", "severe", "extreme"):
        generator = seeded()
        results = [deg.apply(scene, deg.sample(preset, generator)) for _ in range(6)]
        correlations = [np.corrcoef(y.flatten(), scene.flatten())[0, 1] for y in results]
        errors.append(1 - np.mean(correlations))
    assert errors == sorted(errors)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_unknown_preset_is_named():
    with pytest.raises(ValueError, match="'hazy'.*composite.*field"):
        deg.sample("hazy", seeded())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(4, 4), r"\[B, C, H, W\]"),
        (torch.zeros(1, 1, 0, 4), "at least one pixel"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), "float32"),
        (np.zeros((1, 1, 4, 4), np.float32), "float32"),
        (torch.full((1, 1, 4, 4), float("nan")), "NaN"),
        (torch.full((1, 1, 4, 4), 200.0), r"\[0, 1\]"),
        (torch.full((1, 1, 4, 4), -1.0), r"\[0, 1\]"),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        deg.apply(images, deg.DegradationRecord())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: deg.gaussian_blur(x, 8, 1.0, 1.0), "kernel must be odd"),
        (lambda x: deg.gaussian_blur(x, 7, 0.0, 1.0), "must be positive"),
        (lambda x: deg.downscale(x, 3), "factor must be one of"),
        (lambda x: deg.downscale(x, 2, "lanczos"), "filter must be one of .* got 'lanczos'"),
        (lambda _: deg.optical_field(8, 8, 4, 4, "cos2"), "form must be one of"),
        (lambda x: deg.stripes(x, "diagonal", 0.1, 1.0, seeded()), "axis must be one of"),
        (lambda x: deg.apply(x, [deg.DegradationRecord()]), "1 degradations for 2 images: give one, or one per image"),
        (lambda _: deg.DegradationRecord.from_dict({"fog": {}}), "unknown entries: fog; known are seed, noise_seed"),
        (lambda _: deg.DegradationRecord.from_dict({"gaussian_sigma": -5}), "gaussian_sigma is -5, 0 or more"),
        (lambda _: deg.DegradationRecord.from_dict({"blur": {"kernel": 7}}), "not a degradation record"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(frames(2, 1, 8, 8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_draws_the_same_fields():
    # Within 2 grey levels: convolutions round differently there (TF32), and poisson counts follow their input.
    record = replace(full_record(), poisson_scale=None, jpeg_quality=None)
    x = frames(2)
    y = deg.apply(x.cuda(), record)
    assert y.is_cuda
    np.testing.assert_allclose(y.cpu(), deg.apply(x, record), atol=2 / 255)
    z = deg.apply(x.cuda(), full_record())
    assert z.is_cuda
    assert torch.equal(z, deg.apply(x.cuda(), full_record()))
