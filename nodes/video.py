"""Smooth Degradation over Time and Enhance Thermal Video."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..hidra_core.enhance import DegradationVectors as Vectors
from ..hidra_core.enhance import check_options, estimate
from ..hidra_core.images.false_colour import AUTO
from ..hidra_core.names import CLIP_SAMPLES, PALETTES, SMOOTHING, UPSCALES
from ..hidra_core.vectors import SmoothOverTime, average, check_smoothing
from ..hidra_core.video import Flicker, enhance_frames
from . import host
from .degradation import DEM_BYTES, weights_input
from .enhance import CORRECTOR_INPUT, DECODER_INPUT, RESTRAINT_INPUT, TILING
from .images import taken
from .schema import SLIDER, Degradation, advanced, one_of, schema
from .shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from ..hidra_core.video import OnBroken

ONE_PER = ["frame", "clip"]
ON_BROKEN = ["stop", "skip"]
NO_PALETTE = "none"
PALETTE_OPTIONS = [NO_PALETTE, AUTO, *PALETTES]

SMOOTHING_INPUT = {
    "default": SMOOTHING,
    "min": 0.0,
    "max": 0.99,
    "step": 0.01,
    "display_name": "smoothing (share of the past)",
    "display_mode": SLIDER,
    "tooltip": "Share of the past in a frame's degradation; 0 keeps each frame's own. Starts over where the scene "
    "changes. Not used with clip.",
}


class SmoothDegradation(io.ComfyNode):
    """Smooths the degradation vectors of a sequence."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "degradation",
            node_id="HiDRA_SmoothDegradation",
            display_name="Smooth Degradation over Time (Thermal)",
            description="Smooths the degradation of a sequence's frames over time, or averages it, so that the "
            "enhanced frames flicker less.",
            search_aliases=["hidra", "flicker", "temporal smoothing"],
            inputs=[
                Degradation.Input("degradation", tooltip="From Estimate TIR Degradation: one vector per frame."),
                io.Image.Input(
                    "image", tooltip="The frames in order of time; changes of the scene are detected in them."
                ),
                io.Combo.Input(
                    "degradation_per",
                    options=ONE_PER,
                    default="frame",
                    tooltip="frame: one for each frame, smoothed; clip: the average, for all frames.",
                ),
                io.Float.Input("smoothing", **SMOOTHING_INPUT),
            ],
            outputs=[Degradation.Output(display_name="degradation", tooltip="The smoothed vectors, or one for all.")],
        )

    @classmethod
    def execute(
        cls, degradation: Vectors, image: torch.Tensor, degradation_per: str, smoothing: float
    ) -> io.NodeOutput:
        if degradation_per == "clip":
            return io.NodeOutput(average(degradation))
        frames = list(taken(image))
        if len(degradation) != len(frames):
            raise ValueError(
                f"{len(degradation)} degradation vectors for {len(frames)} frames: connect the image that the "
                "degradation was estimated on"
            )
        smoothed = SmoothOverTime(smoothing)(degradation.vectors, frames)
        return io.NodeOutput(Vectors(smoothed, degradation.weights))


class EnhanceVideo(io.ComfyNode):
    """Enhances a video a few frames at a time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_EnhanceVideo",
            display_name="Enhance Thermal Video",
            description="Enhances a video a few frames at a time, so that memory does not grow with its length. "
            "Estimates the degradation of every frame and smooths it over time, or uses one for the whole video. "
            "Frame times and sound are kept. Of a file with more than 8 bits the enhanced counts are also saved, as "
            ".mkv in the output folder. Reports how much the video flickers before and after.",
            search_aliases=["hidra", "thermal video", "infrared video", "denoise video", "flicker"],
            inputs=[
                io.Model.Input("model", tooltip="From Load SD-Turbo; or a baked one, with conditioning connected."),
                io.Vae.Input("vae", tooltip="From the same node; or the baked one."),
                io.Video.Input("video", tooltip="From Load Video or Create Video; colour is converted to grey."),
                weights_input(),
                io.Combo.Input(
                    "degradation_per",
                    options=ONE_PER,
                    default="frame",
                    tooltip=f"frame: one for each frame, smoothed; clip: the average of {CLIP_SAMPLES} frames spread "
                    "over the video, for all frames.",
                ),
                io.Float.Input("smoothing", **SMOOTHING_INPUT),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="1 is the trained adapter, 0 the plain backbone, above 1 exaggerates.",
                ),
                io.Int.Input(
                    "upscale",
                    display_name="upscale (factor)",
                    default=1,
                    min=min(UPSCALES),
                    max=max(UPSCALES),
                    tooltip="Enlarges the frames by this factor before the networks.",
                ),
                io.Combo.Input(
                    "tiling",
                    display_name="tiling (side in pixels)",
                    options=list(TILING),
                    default="auto",
                    tooltip="Side of the tiles in pixels. auto: tiles for frames of more than one megapixel. When "
                    "memory runs out, smaller tiles are tried in any case.",
                ),
                advanced(
                    io.Combo.Input,
                    "on_broken_frame",
                    options=ON_BROKEN,
                    default="stop",
                    tooltip="If a frame cannot be decoded: stop with an error, or skip it; others keep their times.",
                ),
                Degradation.Input(
                    "degradation", optional=True, tooltip="One vector for the whole video; then nothing is estimated."
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="From Load Baked VAE, for a baked MODEL and VAE; then nothing is estimated.",
                ),
                advanced(io.Boolean.Input, "restraint", **RESTRAINT_INPUT),
                io.Combo.Input(
                    "palette",
                    options=PALETTE_OPTIONS,
                    default=NO_PALETTE,
                    optional=True,
                    tooltip="For a video in the false colours of a palette: turn them back to grey. auto: the palette "
                    "is detected; none: the brightness is enhanced, with a warning where it is not the temperature.",
                ),
                advanced(io.Boolean.Input, "corrector", **CORRECTOR_INPUT),
                io.Vae.Input("decoder", **DECODER_INPUT),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The enhanced video; of more than 8 bits, a view in 8."),
                io.String.Output(display_name="report", tooltip="Frames, flicker, files and warnings, as text."),
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
    def execute(
        cls,
        model: Any,
        vae: Any,
        video: Any,
        weights: str,
        degradation_per: str,
        smoothing: float,
        strength: float,
        upscale: int,
        tiling: str,
        on_broken_frame: OnBroken,
        degradation: Vectors | None = None,
        conditioning: list | None = None,
        restraint: bool = True,
        palette: str = NO_PALETTE,
        corrector: bool = True,
        decoder: Any = None,
    ) -> io.NodeOutput:
        from .host.video import open_video  # PyAV is slow to import

        check_options(strength, upscale, TILING[tiling])
        check_smoothing(smoothing)
        if degradation is not None and len(degradation) > 1:
            raise ValueError(
                f"Enhance Thermal Video takes one vector for the whole video, this input has {len(degradation)}: "
                "average them (Smooth Degradation over Time, degradation_per clip)"
            )
        opened = open_video(video, on_broken_frame, None if palette == NO_PALETTE else palette)
        used, loaded = None, None
        if conditioning is not None:
            degradation = None
            backbone = host.HostBackbone(model, vae, conditioning, decoder)
        else:
            if degradation is None:
                loaded = host.weights(weights)
                used = loaded.weights
            else:
                used = degradation.weights
            backbone = host.HostBackbone(*host.adapting(model, vae, used), decoder=decoder)
        if loaded is not None and degradation_per == "clip":
            loaded.load_estimator(DEM_BYTES)
            samples = opened.samples(CLIP_SAMPLES)
            degradation = average(estimate(samples, loaded.weights, progress=host.Progress()))
        before, after = Flicker(), Flicker()
        progress = host.Progress(pictures=True)
        total = opened.frame_count

        def frames_done(count: float, frame: torch.Tensor | None) -> None:
            progress(min(count / total, 1.0) if total else 0.0, frame)

        def enhanced(frames: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
            results = enhance_frames(
                before.watching(frames),
                backbone,
                used,
                degradation=degradation,
                smoothing=smoothing,
                strength=strength,
                upscale=upscale,
                tile=TILING[tiling],
                restraint=restraint,
                corrector=corrector,
                before_estimate=None if loaded is None else partial(loaded.load_estimator, DEM_BYTES),
                progress=frames_done,
            )
            return after.watching(results)

        result = opened.enhanced(enhanced)
        frames = f"{after.frames} {'frame' if after.frames == 1 else 'frames'}"
        report = (
            f"{frames}, mean absolute difference of neighbouring frames (flicker, and motion): "
            f"{before.value:.2f} before, {after.value:.2f} after, in grey levels of 255"
        )
        decoded = [] if backbone.decoder_name is None else [f"decoder: {backbone.decoder_name}"]
        report = "\n".join([report, *decoded, *opened.notes])
        return io.NodeOutput(result, report, ui=shown(cls, report, saved=opened.saved))
