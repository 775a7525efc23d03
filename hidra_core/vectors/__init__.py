"""Degradation vectors: arithmetic, files, reports in words, t-SNE maps."""

from .arithmetic import SMOOTHING, SmoothOverTime, average, blend, check_smoothing, edit
from .file import about, load_degradation, save_degradation
from .report import Measurement, bar, degradation_report, image_lines, measure, reading_lines, vector_report
from .tsne import FEWEST, SUFFIXES, check_packages, draw, silhouette, tsne

__all__ = [
    "FEWEST",
    "Measurement",
    "SMOOTHING",
    "SUFFIXES",
    "SmoothOverTime",
    "about",
    "average",
    "bar",
    "blend",
    "check_packages",
    "check_smoothing",
    "degradation_report",
    "draw",
    "edit",
    "image_lines",
    "load_degradation",
    "measure",
    "reading_lines",
    "save_degradation",
    "silhouette",
    "tsne",
    "vector_report",
]
