"""Linear probes of degradation vectors: fitted by regularised regression, calibrated on other images.

A probe is a weight ``[outputs, D]`` and a bias ``[outputs]`` for vectors that are not standardised: the
standardisation that fitting needs is folded in. The strength of the regularisation is chosen by cross-validation over
whole images, as several draws of one image are no independent samples. Needs scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logit, softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

Map = tuple[NDArray, NDArray]
"""Weight ``[outputs, D]`` and bias ``[outputs]``."""

FOLDS = 3


def classifier(vectors: NDArray, labels: NDArray, images: NDArray) -> Map:
    """Logits of the labels by logistic regression.

    Args:
        vectors: ``[N, D]``.
        labels: ``[N]``, whole numbers from 0. Two give one output, the logit of 1; more give one output per label.
        images: ``[N]``, the number of the clean image that each vector belongs to.

    Returns:
        Weight and bias.

    Raises:
        ValueError: vectors of fewer than three images, or of one label.
    """
    model = LogisticRegression(max_iter=1000)
    return _fitted(model, {"C": [0.003, 0.03, 0.3]}, "neg_log_loss", vectors, labels, images)


def regressor(vectors: NDArray, values: NDArray, images: NDArray) -> Map:
    """A value by ridge regression.

    Args:
        vectors: ``[N, D]``.
        values: ``[N]``.
        images: ``[N]``, the number of the clean image that each vector belongs to.

    Returns:
        Weight and bias of one output.
    """
    return _fitted(Ridge(), {"alpha": [3.0, 30.0, 300.0]}, "neg_mean_squared_error", vectors, values, images)


def _fitted(
    model: Any, choices: dict[str, list[float]], score: str, vectors: NDArray, wanted: NDArray, images: NDArray
) -> Map:
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0)
    pipeline = Pipeline([("scale", StandardScaler()), ("model", model)])
    search = GridSearchCV(
        pipeline, {f"model__{name}": values for name, values in choices.items()}, scoring=score, cv=folds
    )
    best = search.fit(vectors.astype(np.float64), wanted, groups=images).best_estimator_
    scale, fitted = best["scale"], best["model"]
    weight = np.atleast_2d(fitted.coef_) / scale.scale_
    return weight, np.atleast_1d(fitted.intercept_) - weight @ scale.mean_


def outputs(probe: Map, vectors: NDArray) -> NDArray:
    """Outputs ``[N, outputs]`` of a probe on vectors ``[N, D]``."""
    weight, bias = probe
    return vectors @ weight.T + bias


def calibrated(probe: Map, slope: float, offset: float) -> Map:
    """The probe whose outputs are ``slope·x + offset`` where those of the given one are ``x``."""
    weight, bias = probe
    return weight * slope, bias * slope + offset


def platt(logits: NDArray, present: NDArray) -> tuple[float, float]:
    """Slope and offset that turn logits into those of honest probabilities (Platt, 1999).

    A probe that knows nothing of these images gets slope 0, and the share of true labels as its probability.

    Args:
        logits: ``[N]``.
        present: the true labels, ``[N]``, 0 or 1.

    Returns:
        Slope, 0 or more, and offset.
    """
    model = LogisticRegression(C=1e6).fit(logits[:, None], present)
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    return (slope, offset) if slope > 0 else (0.0, float(logit(np.mean(present))))


def temperature(logits: NDArray, labels: NDArray) -> float:
    """The factor on logits that makes their softmax honest probabilities (Guo et al., 2017).

    Args:
        logits: ``[N, classes]``.
        labels: the true classes, ``[N]``.

    Returns:
        The factor, above 0.
    """
    rows = np.arange(len(labels))

    def loss(log_factor: float) -> float:
        shares = softmax(np.exp(log_factor) * logits, axis=1)
        return -float(np.log(np.maximum(shares[rows, labels], 1e-12)).mean())

    minimum: Any = minimize_scalar(loss, bounds=(-5, 3), method="bounded")
    return float(np.exp(minimum.x))


def straightened(values: NDArray, wanted: NDArray) -> tuple[float, float]:
    """Slope and offset, by least squares, that make outputs right on average.

    Args:
        values: outputs of a probe, ``[N]``.
        wanted: the true values, ``[N]``.

    Returns:
        Slope, 0 or more, and offset.
    """
    spread = float(np.var(values))
    slope = max(0.0, float(np.cov(values, wanted, bias=True)[0, 1]) / spread) if spread > 0 else 0.0
    return slope, float(np.mean(wanted) - slope * np.mean(values))


def calibration_error(probability: NDArray, true: NDArray, bins: int = 10) -> float:
    """Expected calibration error: the mean distance of stated probabilities from how often they hold.

    Args:
        probability: as stated, ``[N]``.
        true: whether it held, ``[N]``.
        bins: of equal width, over which probabilities are pooled.

    Returns:
        From 0, perfectly calibrated, to 1.
    """
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [abs(float(np.sum(probability[place == b]) - np.sum(true[place == b]))) for b in range(bins)]
    return sum(gaps) / len(probability)
