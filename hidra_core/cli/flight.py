"""``hidra enhance --flight``: the frames of one flight get one mapping and one level, and a table says how."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from .console import UsageError, log, reason, report, say
from .progress import progress

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from ..sources import Reading
    from ..sources.flight import FlightReport
    from .results import Job

TABLE = "flight.csv"
"""Name of the table in the folder of the results."""

_COLUMNS = (
    *("file", "time", "offset", "uncertainty", "offset_kelvin", "uncertainty_kelvin", "left_as_it_is"),
    *("after_shutter_event", "anchor", "compared_with", "rows_moved", "columns_moved", "confidence", "mapping"),
)


def add_flight(group: argparse._ActionsContainer) -> None:
    """Add the option for the frames of one flight."""
    group.add_argument(
        "--flight",
        action="store_true",
        help="the inputs are frames of one flight, three or more: all get one mapping, and offsets that drift between "
        f"shutter events are found where neighbours overlap and taken off; {TABLE} beside the results says what was "
        "taken off each. Grey pictures are read as counts",
    )


def reading_of_flight(arguments: argparse.Namespace, reading: Reading, jobs: list[Job], kept: list[Job]) -> Reading:
    """Read all inputs as one flight, write the table, and say what was found.

    Args:
        arguments: the parsed command line.
        reading: how to read the inputs.
        jobs: all inputs.
        kept: those whose results exist and stay.

    Returns:
        How to read them so that each is levelled and mapped like the others.

    Raises:
        UsageError: they are no frames of one flight; or results that stay were made with other offsets.
    """
    from ..images.files import atomic_path
    from ..sources.flight import read_flight

    log.info("%d files are looked at as one flight", len(jobs))
    with progress(len(jobs), arguments) as shown:
        shown.begin("flight")
        try:
            reading, found = read_flight(
                [job.source for job in jobs], reading, lambda count: shown.advance(min(count / 2, len(jobs)))
            )
        except ValueError as error:
            raise UsageError(reason(error)) from error
    for path, error in found.unreadable:
        report(error, arguments, path)
    rows = _rows(found)
    table: Path = arguments.output / TABLE
    _check_kept(table, rows, kept)
    table.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    levelling = found.levelling
    words = levelling.summary() if found.kelvin is None else levelling.summary("K", found.kelvin)
    if levelling.anchor == "none":
        log.warning("flight: %s", words)
    else:
        say(f"flight: {words}", arguments)
    if found.times is None:
        log.warning("not all frames say when they were taken: they are ordered by their names")
    return reading


def _rows(found: FlightReport) -> list[dict[str, str]]:
    """The table, a row for each frame, in the order in which they were taken."""
    levelling = found.levelling
    # of several overlaps with earlier frames the one with the nearest
    behind = {overlap.second: overlap for overlap in sorted(levelling.overlaps, key=lambda one: one.first)}
    rows = []
    for index, path in enumerate(found.files):
        offset, uncertainty = found.offsets[index], float(levelling.uncertainty[index])
        overlap = behind.get(index)
        kelvin = found.kelvin
        rows.append(
            {
                "file": path.as_posix(),
                "time": "" if found.times is None else found.times[index].isoformat(),
                "offset": f"{offset:.6g}",
                "uncertainty": _number(uncertainty),
                "offset_kelvin": "" if kelvin is None else f"{offset * kelvin:.4g}",
                "uncertainty_kelvin": "" if kelvin is None else _number(uncertainty * kelvin),
                "left_as_it_is": "yes" if levelling.left[index] else "no",
                "after_shutter_event": "yes" if index in levelling.events else "no",
                "anchor": levelling.anchor,
                "compared_with": "" if overlap is None else found.files[overlap.first].as_posix(),
                "rows_moved": "" if overlap is None else f"{overlap.down:.1f}",
                "columns_moved": "" if overlap is None else f"{overlap.across:.1f}",
                "confidence": "" if overlap is None else f"{overlap.confidence:.2f}",
                "mapping": f"{found.mapping.kind} {found.mapping.counts[0]:.6g} {found.mapping.counts[-1]:.6g}",
            }
        )
    return rows


def _number(value: float) -> str:
    """A standard deviation with two digits; empty where it is not known."""
    return "" if value != value else f"{value:.2g}"


def _check_kept(table: Path, rows: list[dict[str, str]], kept: list[Job]) -> None:
    """Refuse to put new results beside others that were levelled otherwise."""
    if not kept:
        return
    try:
        with open(table, newline="", encoding="utf-8") as file:
            before = {row.get("file"): (row.get("offset"), row.get("mapping")) for row in csv.DictReader(file)}
    except OSError:
        before = {}
    now = {row["file"]: (row["offset"], row["mapping"]) for row in rows}
    for job in kept:
        name = job.source.as_posix()
        if name in now and before.get(name) != now[name]:
            raise UsageError(
                f"{job.output} exists and was not made with the offset of {name} in this flight, or not with its "
                "mapping: --overwrite makes all results anew, or choose another --output"
            )
