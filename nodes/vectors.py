"""Save, Load, Blend and Edit Degradation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..hidra_core.names import HIDRA_TINY
from ..hidra_core.readouts import KINDS
from ..hidra_core.vectors import average, blend, edit, load_degradation, save_degradation, vector_report
from . import host
from .schema import SLIDER, Degradation, one_of, schema
from .shown import shown

if TYPE_CHECKING:
    from ..hidra_core.enhance import DegradationVectors as Vectors


class SaveDegradation(io.ComfyNode):
    """Writes degradation vectors into a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "degradation",
            node_id="HiDRA_SaveDegradation",
            display_name="Save Degradation (Thermal)",
            description="Saves degradation vectors as a small file in the output folder, with the name and fingerprint "
            "of the weights they belong to. Load Degradation finds it there.",
            search_aliases=["hidra", "export degradation"],
            inputs=[
                Degradation.Input("degradation", tooltip="From Estimate TIR Degradation."),
                io.String.Input(
                    "filename_prefix",
                    default=f"{host.DEGRADATIONS_FOLDER}/camera",
                    tooltip="Start of the file's name in the output folder; Load Degradation looks into "
                    f"{host.DEGRADATIONS_FOLDER}.",
                ),
                io.Boolean.Input(
                    "average",
                    default=False,
                    tooltip="Save one vector, the average of all, for a camera whose degradation does not change.",
                ),
            ],
            outputs=[Degradation.Output(display_name="degradation", tooltip="What was saved.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, degradation: Vectors, filename_prefix: str, **options: bool) -> io.NodeOutput:
        saved = average(degradation) if options["average"] else degradation
        stem = host.output_stem(filename_prefix)
        path = stem.with_name(f"{stem.name}.safetensors")
        save_degradation(saved, path)
        count = f"{len(saved)} {'vector' if len(saved) == 1 else 'vectors'}"
        written = f"{count} saved in the output folder:\n{host.output_name(path)}"
        return io.NodeOutput(saved, ui=shown(cls, written, saved=[path]))


class LoadDegradation(io.ComfyNode):
    """Reads degradation vectors from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "degradation",
            node_id="HiDRA_LoadDegradation",
            display_name="Load Degradation (Thermal)",
            description="Loads degradation vectors that were saved, and checks that they belong to these weights.",
            search_aliases=["hidra", "import degradation"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=host.files(host.DEGRADATIONS_FOLDER),
                    tooltip=f"A file from models/{host.DEGRADATIONS_FOLDER} or output/{host.DEGRADATIONS_FOLDER}.",
                ),
                io.Combo.Input(
                    "weights",
                    options=host.choices(host.WEIGHTS_FOLDER),
                    default=HIDRA_TINY,
                    tooltip="The weights that the degradation was estimated with.",
                ),
            ],
            outputs=[Degradation.Output(display_name="degradation", tooltip="The saved vectors, with their weights.")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        return one_of(file, host.files(host.DEGRADATIONS_FOLDER), "Save one with Save Degradation and refresh")

    @classmethod
    def fingerprint_inputs(cls, file: str, weights: str) -> str:
        places = ((host.DEGRADATIONS_FOLDER, file), (host.WEIGHTS_FOLDER, weights))
        return " ".join(host.fingerprint(folder, name) for folder, name in places)

    @classmethod
    def execute(cls, file: str, weights: str) -> io.NodeOutput:
        path = host.path_of(host.DEGRADATIONS_FOLDER, file)
        return io.NodeOutput(load_degradation(path, host.weights(weights).weights))


class BlendDegradations(io.ComfyNode):
    """Interpolates between two degradations."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "degradation",
            node_id="HiDRA_BlendDegradations",
            display_name="Blend Degradations (Thermal)",
            description="Interpolates between two degradations of the same weights.",
            search_aliases=["hidra", "interpolate", "mix degradations"],
            inputs=[
                Degradation.Input("first", tooltip="As many vectors as the second, or one."),
                Degradation.Input("second", tooltip="As many vectors as the first, or one."),
                io.Float.Input(
                    "share",
                    display_name="share of the second",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    display_mode=SLIDER,
                    tooltip="0 is the first degradation alone, 1 the second alone.",
                ),
            ],
            outputs=[Degradation.Output(display_name="degradation", tooltip="The blended vectors.")],
        )

    @classmethod
    def execute(cls, first: Vectors, second: Vectors, share: float) -> io.NodeOutput:
        return io.NodeOutput(blend(first, second, share))


class EditDegradation(io.ComfyNode):
    """Changes how much of each kind a degradation says there is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "degradation",
            node_id="HiDRA_EditDegradation",
            display_name="Edit Degradation (Thermal)",
            description="Tells the adapter that there is more or less of a kind of degradation than was estimated; "
            "the report on the other kinds does not change. Amounts are shares of the report's bars. Needs weights "
            "with probes.",
            search_aliases=["hidra", "adjust degradation", "more denoising", "less denoising"],
            inputs=[
                Degradation.Input("degradation", tooltip="From Estimate TIR Degradation; every vector is changed."),
                *(
                    io.Float.Input(
                        _identifier(kind),
                        display_name=f"{kind} (more or less)",
                        default=0.0,
                        min=-1.0,
                        max=1.0,
                        step=0.05,
                        display_mode=SLIDER,
                        tooltip=f"More {kind}; below 0, less. 0.1 is one block of its bar, which ends at 0 and at 1. "
                        "While the report says none, the bar stays empty.",
                    )
                    for kind in KINDS
                ),
            ],
            outputs=[
                Degradation.Output(display_name="degradation", tooltip="The edited vectors."),
                io.String.Output(display_name="report", tooltip="The report on the edited vectors."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, degradation: Vectors, **changes: float) -> io.NodeOutput:
        with host.noting():
            edited = edit(degradation, {kind: changes[_identifier(kind)] for kind in KINDS})
        report = vector_report(edited)
        return io.NodeOutput(edited, report, ui=shown(cls, report))


def _identifier(kind: str) -> str:
    """A kind as the identifier of an input: letters and underscores."""
    return kind.replace(" ", "_").replace("-", "_")
