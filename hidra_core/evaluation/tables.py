"""The results as Markdown tables for readers, and as JSON with all details that are needed to repeat them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from ..degradations import PRESETS
from .tasks import DEGRADED, FUSION, UNTOUCHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measures import Metric
    from .runner import Result

FORMAT = "hidra-evaluation"
VERSION = 1

_TITLES = {
    "fpn": "FPN correction (preset fpn)",
    "dead": "Dead pixels under mild noise (preset dead)",
    "sr-x2": "Blind super-resolution ×2 (preset sr-x2)",
    "sr-x4": "Blind super-resolution ×4 (preset sr-x4)",
    UNTOUCHED: "Clean images, untouched",
    DEGRADED: "Degraded images",
    FUSION: "Fusion with the visible partner",
}


def to_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its columns aligned, for reading as plain text too.

    Args:
        header: titles of the columns.
        rows: cells, as many per row as there are titles.
    """
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def title(result: Result) -> str:
    """The heading of a task."""
    name = result.task.name
    return _TITLES.get(name, f"Composite degradation (preset {name})")


def markdown(results: Sequence[Result], about: dict[str, Any]) -> str:
    """The tables of all tasks, followed by the metrics and methods that were not measured, with the reasons.

    Args:
        results: one per task.
        about: see ``document``.
    """
    lines = ["# Evaluation", "", *_introduction(about), ""]
    for result in results:
        lines += [f"## {title(result)}", "", _count(result), "", table(result), ""]
    reasons = _not_measured(results, about)
    if reasons:
        lines += ["## Not measured", "", *(f"- {name}: {reason}" for name, reason in reasons.items()), ""]
    return "\n".join(lines)


def table(result: Result) -> str:
    """One Markdown table; arrows say which way is better, the best value of a column is bold, a dash is no value.

    The mean of scores of which some are infinite is said with their number; it is not compared with others.
    """
    metrics = result.metrics
    arrows = {True: " \N{UPWARDS ARROW}", False: " \N{DOWNWARDS ARROW}", None: ""}
    means = {
        m.key: {method: result.mean(method, m.key) for method in result.methods if result.measured(method, m.key)}
        for m in metrics
    }
    mixed = {m.key: {method: _mixed(result, method, m) for method in means[m.key]} for m in metrics}
    best = {
        m.key: _best(m, [mean for method, mean in means[m.key].items() if not mixed[m.key][method]]) for m in metrics
    }
    rows = []
    for method in result.methods:
        texts = {
            m.key: _text(means[m.key][method], m) + mixed[m.key][method] if method in means[m.key] else "–"
            for m in metrics
        }
        rows.append([method, *(f"**{text}**" if text == best[key] else text for key, text in texts.items())])
    return to_markdown(["method", *(m.title + arrows[m.higher_is_better] for m in metrics)], rows)


def document(results: Sequence[Result], about: dict[str, Any]) -> dict[str, Any]:
    """All results as plain JSON types; an infinite PSNR is the string "inf".

    Args:
        results: one per task.
        about: the run: ``command``, ``created``, ``machine``, ``versions``, ``models``, ``seed``, ``draws``,
            ``images`` (SHA-256 by name), ``baselines`` (SHA-256 of weights by row), ``conventions``, ``not_measured``
            (reason by name).
    """
    return _plain(
        {
            "format": FORMAT,
            "version": VERSION,
            **about,
            "not_measured": _not_measured(results, about),
            "tasks": [
                {
                    "name": result.task.name,
                    "preset": asdict(PRESETS[result.task.name]) if result.task.name in PRESETS else None,
                    "means": {
                        method: {
                            m.key: result.mean(method, m.key) for m in result.metrics if result.measured(method, m.key)
                        }
                        for method in result.methods
                    },
                    "cases": result.cases,
                }
                for result in results
            ],
        }
    )


def to_json(content: dict[str, Any]) -> str:
    """The text of a JSON file with this content.

    Args:
        content: from ``document``.
    """
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _introduction(about: dict[str, Any]) -> list[str]:
    models = ", ".join(f"{name} ({entry['dtype']}, {entry['device']})" for name, entry in about["models"].items())
    lines = [f"`{about['command']}`", "", f"{models}; {about['machine']}."]
    if about["conventions"]:
        lines.append(
            f"MI in {about['conventions']['mi_unit']}, VIF with border '{about['conventions']['vif_border']}'."
        )
    return lines


def _count(result: Result) -> str:
    """The number of images, and their seeds."""
    task = result.task
    images = f"{len(task.inputs)} image{'' if len(task.inputs) == 1 else 's'}"
    if task.name not in PRESETS:
        return f"{images}; means over them."
    draws = f", {task.draws} draws each" if task.draws > 1 else ""
    seeds = f"seed {task.seed}" if len(task) == 1 else f"seeds {task.seed} to {task.seed + len(task) - 1}"
    return f"{images}{draws}, {seeds}; means over all."


def _not_measured(results: Sequence[Result], about: dict[str, Any]) -> dict[str, str]:
    reasons = dict(about["not_measured"])
    for result in results:
        reasons |= {f"{key} ({result.task.name})": reason for key, reason in result.missing.items()}
    return reasons


def _best(metric: Metric, means: Sequence[float]) -> str | None:
    """The best value as text, so that equal texts are equally bold."""
    values = [value for value in means if not math.isnan(value)]
    if metric.higher_is_better is None or len(values) < 2:
        return None
    return _text(max(values) if metric.higher_is_better else min(values), metric)


def _mixed(result: Result, method: str, metric: Metric) -> str:
    """How many of a row's scores are infinite, as text, where some are and some are not."""
    infinite, count = result.infinite(method, metric.key)
    return f" ({infinite} of {count})" if 0 < infinite < count else ""


def _text(value: float, metric: Metric) -> str:
    if math.isinf(value):
        return "\N{INFINITY}"
    return f"{round(value, metric.decimals) + 0.0:.{metric.decimals}f}"  # the sum turns -0.0 into 0.0


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
