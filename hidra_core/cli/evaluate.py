"""``hidra evaluate``: models and classical methods on the same images, as tables and a sheet of images."""

from __future__ import annotations

import argparse
import datetime
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..names import DTYPES, HIDRA_TINY
from .console import FAILED, INTERRUPTED, OK, UsageError, log, reason, say
from .inputs import check_folder, check_model_paths, check_paths, find_files, readable, require
from .model import check_pair, load_pair
from .options import add_command, add_device, add_overwrite, add_quiet
from .progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from ..evaluation.measures import Metric
    from ..evaluation.perceptual import Measure
    from ..evaluation.runner import FusedFolder, Method, Result
    from ..evaluation.tasks import Task

FUSION = "fusion"
TABLE, DOCUMENT = "evaluation.md", "evaluation.json"


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser of ``hidra``."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        "measure a model against classical methods",
        "Measure HiDRA weights against classical methods, all on the same images. Clean images are degraded by presets "
        "with fixed seeds; images that are degraded already are measured with or without references; with visible "
        "images of the same scenes, the fusion of each pair is measured. The command writes evaluation.md, "
        "evaluation.json and one sheet of images per task. Metrics and baselines that this machine cannot run are "
        "listed with the reason. "
        "docs/use/evaluation.md explains the metrics.",
        "  hidra evaluate clean/ --output results\n"
        "  hidra evaluate clean/ -o results --tasks fpn,severe --draws 4 --baselines clahe,midway,nlm\n"
        "  hidra evaluate clean/ -o results --weights joint.safetensors --weights bilevel.safetensors --bare\n"
        "  hidra evaluate striped/ -o results --tasks degraded\n"
        "  hidra evaluate striped/ -o results --references clean/\n"
        "  hidra evaluate pairs/ir -o results --visible pairs/visible --mi nats --vif same",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="image files, thermal files with a single page, folders or quoted patterns (default: the project's own "
        "rendered scenes)",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the results; made if it is missing"
    )
    _add_tasks(parser.add_argument_group("tasks"))
    _add_model(parser.add_argument_group("model"))
    _add_comparison(parser.add_argument_group("comparison"))
    result = parser.add_argument_group("result")
    result.add_argument(
        "--sheet-rows",
        metavar="N",
        type=int,
        default=4,
        help="number of inputs on each sheet; 0: no sheets (default: 4)",
    )
    result.add_argument(
        "--keep-outputs", action="store_true", help="also write every result, as DIR/outputs/TASK/METHOD/NAME.png"
    )
    add_overwrite(result, "replace the tables and sheets in the folder (default: refuse)")
    add_quiet(parser)


def _add_tasks(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--tasks",
        metavar="LIST",
        help="comma-separated list of presets of degradation (fpn, sr-x2, sr-x4, composite, mild, moderate, severe, "
        "extreme; field, field-mild, hm-tir, hard, dark, clipped, dead; one kind alone: stripes, noise, blur, "
        "low-resolution, low-contrast, "
        "non-uniformity; kinds combined at random: mixed), untouched (clean images without degradation), degraded "
        "(the inputs are degraded already), fusion (default: the first eight presets; degraded with --references, "
        "fusion with --visible)",
    )
    group.add_argument("--references", metavar="DIR", help="clean images of the same names, for the task degraded")
    group.add_argument("--visible", metavar="DIR", help="visible images of the same names, for the task fusion")
    group.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the first degradation (default: 0)")
    group.add_argument(
        "--draws", metavar="N", type=int, default=1, help="number of degradations of each image (default: 1)"
    )


def _add_model(group: argparse._ActionsContainer) -> None:
    group.add_argument("--backbone", metavar="MODEL", help="as for enhance (default: hidra-tiny)")
    group.add_argument(
        "--weights",
        metavar="WEIGHTS",
        action="append",
        help="HiDRA weights: hidra-tiny or a .safetensors file; may be given several times (default: hidra-tiny)",
    )
    group.add_argument("--dem-backbone", metavar="FOLDER", help="as for enhance")
    group.add_argument("--bare", action="store_true", help="also measure the backbone without adaptation (strength 0)")
    group.add_argument(
        "--no-restraint",
        dest="restraint",
        action="store_false",
        help="as for enhance; the backbone without adaptation never has a restraint",
    )
    group.add_argument(
        "--no-corrector",
        dest="corrector",
        action="store_false",
        help="as for enhance; the backbone without adaptation never has a corrector",
    )
    group.add_argument(
        "--sensor",
        choices=("auto", "off"),
        default="auto",
        help="as for enhance; the backbone without adaptation never has the sensor stage (default: auto)",
    )
    group.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="as for enhance (default: auto)")
    add_device(group)


def _add_comparison(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--baselines",
        metavar="LIST",
        default="all",
        help="comma-separated list, all or none: clahe, histogram-equalisation, median-3x3, median-5x5, "
        "gaussian-sigma-1, nlm, bm3d (slow), moment-matching, moment-matching-and-nlm, midway, wavelet-fft, sensor "
        "(this project's sensor stage alone), dncnn=FILE and ffdnet=FILE (networks with weights of yours; "
        "all,dncnn=FILE adds one) (default: all)",
    )
    group.add_argument(
        "--metrics",
        metavar="LIST",
        default="all",
        help="comma-separated list or all: psnr, psnr_affine, ssim, ms_ssim, lpips, dists, maniqa, niqe, fid, "
        "dead_pixels (how well they are found and repaired, in tasks that have some) (default: all)",
    )
    group.add_argument(
        "--fusions",
        metavar="LIST",
        default="average,maximum,laplacian",
        help="comma-separated list of ways to fuse the pairs, or none (default: average,maximum,laplacian)",
    )
    group.add_argument(
        "--fused",
        metavar="NAME=DIR",
        action="append",
        default=[],
        help="also measure the results of another fusion program, DIR/METHOD/NAME.png, with the METHOD folders of "
        "--keep-outputs; may be given several times",
    )
    group.add_argument(
        "--mi", choices=("bits", "nats"), default="bits", help="unit of mutual information, MI (default: bits)"
    )
    group.add_argument(
        "--vif",
        choices=("valid", "same"),
        default="valid",
        help="treatment of the image border in VIF: valid is the standard, same is that of IVIF_ZOO (default: valid)",
    )


@dataclass(frozen=True)
class _Plan:
    """Everything that is decided before the first image is enhanced."""

    tasks: list[Task]
    unreadable: int
    methods: dict[str, Method]
    fusions: list[str | FusedFolder]
    networks: dict[str, Measure]
    columns: dict[str, tuple[list[Metric], dict[str, str]]]
    about: dict[str, Any]


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Args:
        arguments: the parsed command line.

    Returns:
        The exit code.

    Raises:
        UsageError: the request cannot be met as it stands; nothing has been written.
    """
    arguments.weights = list(dict.fromkeys(arguments.weights or [HIDRA_TINY]))
    _check(arguments)
    require("diffusers", "tabulate", "tqdm")
    plan = _plan(arguments)
    results: list[Result] = []
    total = (len(plan.methods) + 1) * sum(len(task) for task in plan.tasks)  # the input is a method too
    with progress(total, arguments) as shown:

        def show(done: int, what: str) -> None:
            before = (len(plan.methods) + 1) * sum(len(result.task) for result in results)
            task = plan.tasks[len(results)]
            shown.begin(f"{len(results) + 1}/{len(plan.tasks)} {task.name}: {what}")
            shown.advance(before + done)

        try:
            for task in plan.tasks:
                result = _measure(task, plan, arguments, show)
                if arguments.overwrite and not results:
                    _remove_sheets(arguments.output)
                _write(arguments.output, [*results, result], plan.about)
                results.append(result)
            shown.advance(total)
        except KeyboardInterrupt:
            kept = f"{arguments.output} holds their results" if results else "no table was written"
            log.error("stopped after %d of %d tasks; %s", len(results), len(plan.tasks), kept)
            return INTERRUPTED
    say((arguments.output / TABLE).read_text(encoding="utf-8").rstrip(), arguments)
    return FAILED if plan.unreadable else OK


def _plan(arguments: argparse.Namespace) -> _Plan:
    """Read all inputs once and load every method and metric, so that errors show before any work."""
    from ..computing import pick_device, pick_dtype
    from ..evaluation import measures, perceptual, provenance, rivals, runner

    tasks, unreadable = _tasks(arguments)
    keys = _chosen("metrics", arguments.metrics, {key: key for key in measures.SELECTABLE})
    baselines, learned, files = _baselines(arguments)
    fusions = _fusions(arguments)
    try:
        device = pick_device(arguments.device)
        dtype = pick_dtype(arguments.dtype, device, arguments.backbone or HIDRA_TINY)
        for task in tasks:
            task.check()
        networks_of_others, files_of_others, absent = rivals.available(files, learned, device)
    except ValueError as error:
        raise UsageError(reason(error)) from error
    methods, not_measured = runner.available_baselines(baselines)
    models, described = _models(arguments, device, dtype)
    useful = {key for task in tasks for key in measures.networks_for(task)}
    networks, missing = perceptual.load([key for key in perceptual.NAMES if key in useful and key in keys], device)
    conventions = _conventions(arguments)
    about = _about(arguments, tasks) | {"models": described, "not_measured": not_measured | absent | missing}
    about["baselines"] = {row: {"weights": provenance.hashes(str(path), "")} for row, path in files_of_others.items()}
    about |= {"conventions": conventions if tasks[0].name == FUSION else {}}
    columns = {task.name: measures.choose(task, keys, networks, **conventions) for task in tasks}
    for name, (metrics, unfit) in columns.items():
        if not metrics:
            reasons = "; ".join(f"{key}: {why}" for key, why in (about["not_measured"] | unfit).items() if key in keys)
            raise UsageError(f"nothing can be measured on the task {name}; {reasons or 'name more --metrics'}")
    return _Plan(tasks, unreadable, methods | networks_of_others | models, fusions, networks, columns, about)


def _measure(task: Task, plan: _Plan, arguments: argparse.Namespace, show: Callable[[int, str], None]) -> Result:
    from ..evaluation import perceptual, runner

    metrics, unfit = plan.columns[task.name]
    result = runner.run(
        task,
        plan.methods,
        metrics,
        fusions=plan.fusions,
        sets={key: plan.networks[key] for key in perceptual.SETS if key in plan.networks},
        conventions=_conventions(arguments),
        sheet_rows=arguments.sheet_rows,
        outputs=arguments.output / "outputs" / task.name if arguments.keep_outputs else None,
        progress=show,
    )
    result.missing |= unfit
    return result


def _conventions(arguments: argparse.Namespace) -> dict[str, str]:
    return {"mi_unit": arguments.mi, "vif_border": arguments.vif}


def _check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for mistakes that can be seen without loading anything."""
    check_model_paths(*arguments.weights, arguments.backbone, arguments.dem_backbone)
    check_paths(arguments.references, arguments.visible)
    check_folder(arguments.output)
    for target in (arguments.output / DOCUMENT, arguments.output / TABLE):
        if target.exists() and not arguments.overwrite:
            raise UsageError(f"{target} exists; --overwrite replaces it, or choose another --output")
    if arguments.fused and not arguments.visible:
        raise UsageError("--fused is for the task fusion, which needs the visible partners: --visible DIR")
    for option, value, least in (
        ("--draws", arguments.draws, 1),
        ("--seed", arguments.seed, 0),
        ("--sheet-rows", arguments.sheet_rows, 0),
    ):
        if value < least:
            raise UsageError(f"{option} must be at least {least}, got {value}")


def _tasks(arguments: argparse.Namespace) -> tuple[list[Task], int]:
    """(tasks, number of inputs that cannot be read and are left out)."""
    from ..evaluation.tasks import DEGRADED, PAPER_TASKS, TASKS, ImageSet, RenderedScenes, Task, partners

    default = FUSION if arguments.visible else DEGRADED if arguments.references else ",".join(PAPER_TASKS)
    names = _chosen("tasks", arguments.tasks or default, {name: name for name in TASKS})
    for option, value, name in (
        ("--visible", arguments.visible, FUSION),
        ("--references", arguments.references, DEGRADED),
    ):
        if value and names != [name]:
            raise UsageError(f"{option} is for the task {name} alone; run the others separately")
    if len(names) > 1 and (FUSION in names or DEGRADED in names):
        raise UsageError(
            f"the tasks {', '.join(names)} need different inputs (clean images, degraded ones, pairs); "
            "run them separately"
        )
    if names == [FUSION] and not arguments.visible:
        raise UsageError("the task fusion needs the visible partners: --visible DIR")
    if not arguments.inputs:
        if names[0] in (FUSION, DEGRADED):
            raise UsageError(f"the task {names[0]} needs images: name files or a folder")
        inputs: ImageSet = RenderedScenes()
        unreadable = 0
    else:
        files = _files(arguments.inputs, leave_out=arguments.output)
        kept = set(readable(list(files.values()), arguments))
        inputs = ImageSet({name: path for name, path in files.items() if path in kept})
        unreadable = len(files) - len(inputs)
    try:
        others = {}
        for role, folder in (("references", arguments.references), ("visible", arguments.visible)):
            if folder:
                seen = role == "visible"
                others[role] = partners(list(inputs), _files([folder]), f"--{role} {folder}", as_is=seen)
    except ValueError as error:
        raise UsageError(reason(error)) from error
    tasks = [Task(name, inputs, seed=arguments.seed, draws=arguments.draws, **others) for name in names]
    return tasks, unreadable


def _files(inputs: list[str], leave_out: Path | None = None) -> dict[str, Path]:
    """Image and thermal files by relative name."""
    return {name.as_posix(): path for path, name in find_files(inputs, leave_out)}


def _chosen(what: str, text: str, known: dict[str, str]) -> list[str]:
    """The values of a comma-separated list, in its order; "all" and "none" are understood where they make sense."""
    if text == "all":
        return list(known.values())
    if text == "none" and what != "tasks":
        return []
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"--{what}: there is no '{name}'; choose from {', '.join(known)}")
    return [known[name] for name in names]


def _baselines(arguments: argparse.Namespace) -> tuple[list[str], list[str], list[tuple[str, Path]]]:
    """(classical methods, networks of ``RIVALS``, those networks' weights as far as they are given)."""
    from ..evaluation.baselines import BASELINES
    from ..evaluation.rivals import RIVALS
    from ..evaluation.runner import slug

    names, files = [], []
    for item in arguments.baselines.split(","):
        name, given, path = item.strip().partition("=")
        if not given:
            names.append(name)
        elif name in RIVALS and Path(path).is_file():
            files.append((name, Path(path)))
        else:
            expected = " or ".join(f"{rival}=FILE" for rival in RIVALS)
            raise UsageError(f"--baselines {item.strip()}: expected {expected} with the file of its weights")
    known = {slug(name): name for name in BASELINES} | {name: name for name in RIVALS}
    chosen = _chosen("baselines", ",".join(names) or "none", known)
    return [name for name in chosen if name in BASELINES], [name for name in chosen if name in RIVALS], files


def _fusions(arguments: argparse.Namespace) -> list[str | FusedFolder]:
    from ..evaluation.fusion import METHODS
    from ..evaluation.runner import FusedFolder

    fusions: list[str | FusedFolder] = [*_chosen("fusions", arguments.fusions, {name: name for name in METHODS})]
    for text in arguments.fused:
        name, _, folder = text.partition("=")
        if not (name and folder and Path(folder).is_dir()):
            raise UsageError(f"--fused {text}: expected NAME=DIR with a folder of fused images")
        fusions.append(FusedFolder(name, Path(folder)))
    if arguments.visible and not fusions:
        raise UsageError("nothing fuses the pairs: give --fusions or --fused")
    return fusions


def _models(
    arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, Method], dict[str, Any]]:
    """The methods of the given weights, and a description of each; the backbone is loaded once."""
    from ..evaluation.baselines import BASELINES
    from ..evaluation.provenance import hashes
    from ..evaluation.runner import INPUT, model
    from ..weights import load_weights

    first, *others = arguments.weights
    weights, backbone = load_pair(argparse.Namespace(**vars(arguments) | {"weights": first}), device, dtype)
    loaded = {first: weights}
    for source in others:
        loaded[source] = load_weights(source, dem_backbone=arguments.dem_backbone)
        check_pair(loaded[source], source, backbone, arguments)
        loaded[source].estimator.to(device)

    stems = [Path(source).stem for source in loaded]
    taken = [*stems, INPUT, *BASELINES]  # a row has the name of its file, unless another row has that name
    backbone_hashes = hashes(arguments.backbone or HIDRA_TINY, "backbone.safetensors")
    methods, described = {}, {}
    for (source, weights), stem in zip(loaded.items(), stems, strict=True):
        name = stem if source == HIDRA_TINY or taken.count(stem) == 1 else source
        described[name] = {
            "weights": hashes(source, "weights.safetensors"),
            "backbone": backbone_hashes,
            "dtype": str(dtype).removeprefix("torch."),
            "device": str(device),
            "training": weights.training,
        }
        if arguments.bare and not methods:
            bare = {"strength": 0.0, "restraint": False, "corrector": False, "sensor": False}
            methods[f"{weights.backbone} without adaptation"] = model(backbone, weights, **bare)
        sensor = arguments.sensor == "auto"
        methods[name] = model(
            backbone, weights, restraint=arguments.restraint, corrector=arguments.corrector, sensor=sensor
        )
    return methods, described


def _about(arguments: argparse.Namespace, tasks: list[Task]) -> dict[str, Any]:
    """The details that are needed to repeat the run, except those of the models."""
    from ..evaluation import provenance

    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "command": f"hidra {shlex.join(arguments.command_line)}",
        "created": now.isoformat(timespec="seconds"),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "seed": arguments.seed,
        "draws": arguments.draws,
        "images": {name: provenance.sha256(path) for name, path in tasks[0].inputs.files.items()},
        "tasks_asked_for": [task.name for task in tasks],
    }


def _remove_sheets(folder: Path) -> None:
    """Remove the sheets of the evaluation that is replaced: its tasks may be others."""
    from ..evaluation.tasks import TASKS

    for name in TASKS:
        (folder / f"sheet-{name}.png").unlink(missing_ok=True)


def _write(folder: Path, results: list[Result], about: dict[str, Any]) -> None:
    """Write the tables of all tasks so far, and the sheet of the last one."""
    from ..evaluation.sheets import sheet
    from ..evaluation.tables import document, markdown, to_json
    from ..images.files import atomic_path

    folder.mkdir(parents=True, exist_ok=True)
    if results[-1].samples:
        with atomic_path(folder / f"sheet-{results[-1].task.name}.png") as temporary:
            sheet(results[-1].samples).save(temporary)
    for name, text in ((TABLE, markdown(results, about)), (DOCUMENT, to_json(document(results, about)))):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
