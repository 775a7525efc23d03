"""A map of degradation vectors: t-SNE, its drawing, and how well groups of vectors are separated.

This module needs scikit-learn and matplotlib, which nothing else in the library does:
``pip install 'hidra-thermal[embedding]'``.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from ..images.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray

FEWEST = 4
"""Vectors that a map needs at least: with fewer there are no neighbours to keep."""

SUFFIXES = (".png", ".pdf", ".svg")
"""Kinds of files that a map can be written as."""


def check_packages() -> None:
    """Raise ImportError, with the remedy, unless the packages that this module needs are installed."""
    for module, package in (("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")):
        if importlib.util.find_spec(module) is None:
            raise ImportError(f"a t-SNE map needs {package}: pip install 'hidra-thermal[embedding]'")


def tsne(vectors: NDArray, seed: int = 0) -> NDArray:
    """Points in the plane with the same neighbours as the vectors (van der Maaten and Hinton, 2008).

    Args:
        vectors: ``[N, D]``, not normalised, since the adapter reads them so.
        seed: of the optimiser.

    Returns:
        ``[N, 2]`` float32. Near points are alike; distances between far groups, axes and scale mean nothing.

    Raises:
        ImportError: scikit-learn is missing.
        ValueError: fewer than four vectors.
    """
    check_packages()
    from sklearn.manifold import TSNE

    if len(vectors) < FEWEST:
        raise ValueError(f"a t-SNE map needs at least {FEWEST} images, got {len(vectors)}")
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(vectors, np.float32))


def silhouette(vectors: NDArray, labels: Sequence[str]) -> float | None:
    """Mean silhouette (Rousseeuw, 1987) of labelled vectors ``[N, D]``, Euclidean, in [-1, 1].

    At 1 every vector is much nearer to its own group than to the next, at 0 groups overlap, below they are mixed up.

    Args:
        vectors: ``[N, D]``.
        labels: the group of each vector.

    Returns:
        The mean, or ``None`` where it is not defined: with one group only, or with one vector per group.

    Raises:
        ImportError: scikit-learn is missing.
    """
    check_packages()
    from sklearn.metrics import silhouette_score

    if not 2 <= len(set(labels)) <= len(vectors) - 1:
        return None
    return float(silhouette_score(np.asarray(vectors, np.float32), list(labels)))


def draw(points: NDArray, colourings: Mapping[str, Sequence[str]], path: str | PathLike, title: str) -> None:
    """Write a drawing with one panel per colouring, atomically.

    Args:
        points: ``[N, 2]``.
        colourings: for each panel's title, the label of every point; points with an empty label are drawn in light
            grey. Colours follow the order in which labels first appear.
        path: a file with one of :data:`SUFFIXES`.
        title: of the whole drawing.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: another suffix.
        OSError: the file cannot be written.
    """
    check_packages()
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * len(colourings), 6.5), layout="constrained")
    figure.suptitle(title)
    size = min(60.0, max(12.0, 3000 / len(points)))
    panels = figure.subplots(1, len(colourings), squeeze=False)[0]
    for panel, (name, labels) in zip(panels, colourings.items(), strict=True):
        label_of = np.asarray(labels)
        groups = [group for group in dict.fromkeys(label_of.tolist()) if group]
        palette = matplotlib.colormaps["tab10" if len(groups) <= 10 else "turbo"]
        for number, group in enumerate(["", *groups]):
            chosen = points[label_of == group]
            if not len(chosen):
                continue
            share = (number - 1) / max(1, len(groups) - 1)
            colour = "0.85" if not group else palette(number - 1) if len(groups) <= 10 else palette(share)
            panel.scatter(*chosen.T, s=size if group else size / 2, color=colour, label=group or None, linewidths=0)
        panel.set(title=name, xticks=[], yticks=[])
        if groups:
            panel.legend(markerscale=(40 / size) ** 0.5, fontsize="small", framealpha=0.8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
