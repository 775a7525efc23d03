"""Estimate TIR Degradation (DEM) and Apply Degradation-Guided LoRA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..hidra_core.enhance import estimate
from ..hidra_core.names import HIDRA_TINY
from ..hidra_core.vectors import degradation_report
from . import host
from .images import doubts, taken
from .schema import Degradation, one_of, schema
from .shown import shown

if TYPE_CHECKING:
    import torch

    from ..hidra_core.enhance import DegradationVectors

DEM_BYTES = 1 << 30
"""Memory for the activations of one window of the DEM, as the host's memory management should count it."""


def weights_input() -> io.Combo.Input:
    """The input ``weights`` of the nodes that estimate."""
    return io.Combo.Input(
        "weights",
        options=host.choices(host.WEIGHTS_FOLDER),
        default=HIDRA_TINY,
        tooltip="A HiDRA weights file from models/hidra for the loaded backbone; hidra-tiny is built in.",
    )


class EstimateDegradation(io.ComfyNode):
    """Estimates the degradation vector of each image and reports on it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_EstimateDegradation",
            display_name="Estimate TIR Degradation (DEM), Thermal Infrared",
            description="Estimates the degradation vector of each thermal image, and reports what can be measured "
            "in it: noise, stripes, contrast.",
            search_aliases=["hidra", "thermal", "infrared", "degradation estimation", "noise", "stripes", "blur"],
            inputs=[
                io.Image.Input("image", tooltip="Thermal images; colour is converted to grey."),
                weights_input(),
            ],
            outputs=[
                Degradation.Output(display_name="degradation", tooltip="One vector per image, with its weights."),
                io.String.Output(display_name="report", tooltip="The report as text."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, weights: str | None) -> bool | str:
        return one_of(
            weights, host.choices(host.WEIGHTS_FOLDER), "Put the file into models/hidra and refresh, or choose another"
        )

    @classmethod
    def fingerprint_inputs(cls, weights: str, **_: Any) -> str:
        return host.fingerprint(host.WEIGHTS_FOLDER, weights)

    @classmethod
    def execute(cls, image: torch.Tensor, weights: str) -> io.NodeOutput:
        image = taken(image)
        loaded = host.weights(weights)
        loaded.load_estimator(DEM_BYTES)
        progress = host.Progress()
        degradation = estimate(image, loaded.weights, progress=progress)
        report = "\n".join([*doubts(image), degradation_report(image, degradation, weights)])
        return io.NodeOutput(degradation, report, ui=shown(cls, report))


class ApplyLoRA(io.ComfyNode):
    """Puts the adapter for a degradation on MODEL and VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_ApplyLoRA",
            display_name="Apply Degradation-Guided LoRA (Thermal Infrared)",
            description="Adapts the backbone to the degradation of each image. The MODEL also works in stock samplers; "
            "hidra-tiny's VAE halves the size of what an Empty Latent Image asks for.",
            search_aliases=["hidra", "thermal", "infrared", "adapter"],
            inputs=[
                io.Model.Input("model", tooltip="From Load SD-Turbo: the backbone that the weights were trained on."),
                io.Vae.Input("vae", tooltip="From the same node."),
                Degradation.Input("degradation", tooltip="From Estimate TIR Degradation; carries the weights along."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="1 is the trained adapter, 0 the plain backbone, above 1 exaggerates.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The adapted backbone, for One-Step Enhance."),
                io.Vae.Output(display_name="VAE", tooltip="The adapted encoder and decoder, for the same node."),
            ],
        )

    @classmethod
    def execute(cls, model: Any, vae: Any, degradation: DegradationVectors, strength: float) -> io.NodeOutput:
        return io.NodeOutput(*host.apply(model, vae, degradation, strength))
