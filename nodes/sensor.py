"""Correct Thermal Sensor, and the profile of a camera: calibrate, load and apply it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from comfy_api.latest import io

from . import host
from .images import colour_doubts, taken
from .schema import advanced, one_of, schema
from .shown import shown
from .thermal import Thermal

if TYPE_CHECKING:
    from ..hidra_core.sensor import CameraProfile, SensorStage, Switch
    from ..hidra_core.sources import CountsSource
    from ..hidra_core.sources.batch import ImageBatch

Camera = io.Custom("HIDRA_CAMERA_PROFILE")
SWITCHES = ("auto", "on", "off")
ALIASES = ("hidra", "destripe", "stripes", "dead pixel", "hot pixel", "bad pixel", "vignetting")
PROFILE_ALIASES = ("hidra", "non-uniformity correction", "nuc", "flat field", "fixed pattern noise")

_THERMAL = (
    "From Load Thermal Image, for counts: {}. Without it the images are taken as grey levels, which mean the same in "
    "all files only where these have 8 bits."
)


class CorrectSensor(io.ComfyNode):
    """Undoes what the sensor did to each image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def switch(name: str, what: str, default: Switch = "auto") -> io.Combo.Input:
            tooltip = f"{what} auto: where it is found beyond doubt; on: the best estimate in any case; off: never."
            return io.Combo.Input(name, options=list(SWITCHES), default=default, tooltip=tooltip)

        return schema(
            "sensor",
            node_id="HiDRA_CorrectSensor",
            display_name="Correct Thermal Sensor (Destripe)",
            description="Takes off thermal images what the sensor did to them, before any network sees them: dead "
            "pixels, stripes, shading. Says how much of each there was, and leaves images alone in which nothing is "
            "found. One-Step Enhance gets the corrected images. Estimate TIR Degradation gets them as the camera gave "
            "them, but for the shading: the stripes tell it how strong everything else is.",
            search_aliases=[*ALIASES, *PROFILE_ALIASES[1:]],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Thermal images as the camera gave them. Those in true or false colours are left alone.",
                ),
                switch("dead_pixels", "Replace dead, stuck and blinking pixels and short bad lines."),
                switch("stripes", "Take off offsets and gains of columns and rows."),
                switch(
                    "shading",
                    "Take off the smooth field of lens and housing, which One-Step Enhance does too; auto leaves it "
                    "with a camera.",
                    "off",
                ),
                Camera.Input(
                    "camera",
                    optional=True,
                    tooltip="From Calibrate Thermal Camera or Load Camera Profile: the pattern of the camera is taken "
                    "off first. Images of another size are refused.",
                ),
                Thermal.Input("thermal", optional=True, tooltip=_THERMAL.format("sizes are reported in them")),
                advanced(
                    io.Boolean.Input,
                    "sequence",
                    default=False,
                    optional=True,
                    tooltip="The images are frames of one sequence in order of time: each frame gets the correction "
                    "that the frames around it agree on, so that the result does not flicker.",
                ),
            ],
            outputs=[
                *_outputs("the corrected images"),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        dead_pixels: Switch,
        stripes: Switch,
        shading: Switch,
        camera: CameraProfile | None = None,
        thermal: CountsSource | None = None,
        sequence: bool = False,
    ) -> io.NodeOutput:
        from ..hidra_core.sensor import SensorSettings, SensorStage  # SciPy would slow the host's start

        settings = SensorSettings(dead_pixels, stripes, shading)
        if settings.is_off and camera is None:
            raise ValueError("dead_pixels, stripes and shading are all off: set one to auto, or bypass this node")
        return _corrected(cls, image, thermal, SensorStage(settings), camera, in_order=sequence)


class CalibrateCamera(io.ComfyNode):
    """Finds what a camera adds to all its frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "sensor",
            node_id="HiDRA_CalibrateCamera",
            display_name="Calibrate Thermal Camera",
            description="Finds what one camera adds to every frame, in 20 or more ordinary frames while the scene "
            "moves: dead, stuck and blinking pixels, columns, rows, the offset and gain of each pixel, shading, each "
            "with its uncertainty. Saves it as a profile in the output folder. A scene that stands still is refused.",
            search_aliases=[*PROFILE_ALIASES, "calibration", "scene-based"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Frames of one camera in order, as it gave them, while it pans or travels: from Load "
                    "Images, a video's components, or Load Thermal Image. 50 to some hundred are a good number.",
                ),
                io.Boolean.Input(
                    "flat",
                    default=False,
                    tooltip="The frames show a uniform surface or the closed shutter, at one level or, for the gain, "
                    "at several; they are used as they are, and four are enough.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default=f"{host.CAMERAS_FOLDER}/camera",
                    tooltip="Start of the file's name in the output folder; Load Camera Profile looks into "
                    f"{host.CAMERAS_FOLDER}.",
                ),
                Thermal.Input("thermal", optional=True, tooltip=_THERMAL.format("the profile is made of them")),
            ],
            outputs=[
                Camera.Output(display_name="camera", tooltip="For Correct Thermal Sensor and Apply Camera Profile."),
                io.String.Output(display_name="report", tooltip="The parts of the profile, their sizes, and notes."),
                io.Image.Output(
                    display_name="picture", tooltip="Offsets, gain, uncertainty and defective pixels, with legends."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, flat: bool, filename_prefix: str, thermal: CountsSource | None = None
    ) -> io.NodeOutput:
        from ..hidra_core.sensor import calibrate, calibrate_flat
        from ..hidra_core.sensor.calibration import PASSES
        from ..hidra_core.sensor.picture import profile_picture

        progress = host.Progress()
        passes = 1 if flat else PASSES
        with host.noting():
            frames = _batch(image, thermal)
            stem = host.output_stem(filename_prefix, *frames.size)
            profile = (calibrate_flat if flat else calibrate)(
                frames,
                unit=frames.unit,
                camera=frames.camera,
                progress=lambda number, done: progress((number + done / len(frames)) / passes),
            )
        path = stem.with_name(f"{stem.name}.safetensors")
        profile.save(path)
        text = f"{profile.summary()}\nsaved in the output folder: {host.output_name(path)}"
        picture = torch.from_numpy(np.array(profile_picture(profile))).float()[None] / 255
        return io.NodeOutput(profile, text, picture, ui=shown(cls, text, picture, saved=[path]))


class LoadCameraProfile(io.ComfyNode):
    """Reads the profile of a camera from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "sensor",
            node_id="HiDRA_LoadCameraProfile",
            display_name="Load Camera Profile (Thermal)",
            description="Loads the profile of a thermal camera that Calibrate Thermal Camera, or hidra calibrate on "
            "the shell, saved.",
            search_aliases=list(PROFILE_ALIASES),
            inputs=[
                io.Combo.Input(
                    "file",
                    options=host.files(host.CAMERAS_FOLDER),
                    tooltip=f"A file from models/{host.CAMERAS_FOLDER} or output/{host.CAMERAS_FOLDER}.",
                ),
            ],
            outputs=[
                Camera.Output(display_name="camera", tooltip="For Correct Thermal Sensor and Apply Camera Profile."),
                io.String.Output(display_name="report", tooltip="The parts of the profile, their sizes, and notes."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        return one_of(file, host.files(host.CAMERAS_FOLDER), "Make one with Calibrate Thermal Camera and refresh")

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return host.fingerprint(host.CAMERAS_FOLDER, file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ..hidra_core.sensor import load_profile

        with host.noting():
            profile = load_profile(host.path_of(host.CAMERAS_FOLDER, file))
        text = profile.summary()
        return io.NodeOutput(profile, text, ui=shown(cls, text))


class ApplyCameraProfile(io.ComfyNode):
    """Takes the pattern of a camera off its images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "sensor",
            node_id="HiDRA_ApplyCameraProfile",
            display_name="Apply Camera Profile (Thermal)",
            description="Takes off thermal images what their camera adds to every frame, and replaces its defective "
            "pixels. Images of another size or camera are refused. Correct Thermal Sensor with a camera does the same, "
            "and then takes off what a single image shows beyond that, such as stripes that have drifted since.",
            search_aliases=list(PROFILE_ALIASES),
            inputs=[
                io.Image.Input("image", tooltip="Whole frames of the camera that the profile was made with."),
                Camera.Input("camera", tooltip="From Calibrate Thermal Camera or Load Camera Profile."),
                Thermal.Input("thermal", optional=True, tooltip=_THERMAL.format("a profile of counts needs them")),
            ],
            outputs=[
                *_outputs("the images without the camera's pattern"),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image: torch.Tensor, camera: CameraProfile, thermal: CountsSource | None = None) -> io.NodeOutput:
        from ..hidra_core.sensor import SensorSettings, SensorStage

        return _corrected(cls, image, thermal, SensorStage(SensorSettings("off", "off", "off")), camera)


def _outputs(what: str) -> list[Any]:
    """Those of a node that corrects images."""
    return [
        io.Image.Output(display_name="image", tooltip=f"For One-Step Enhance: {what}."),
        io.Image.Output(
            display_name="to estimate",
            tooltip="For Estimate TIR Degradation: the images as the camera gave them, but without the shading that "
            "was taken off, so that it is not taken off twice.",
        ),
        io.String.Output(display_name="report", tooltip="What was taken off each image."),
    ]


def _batch(image: torch.Tensor, thermal: CountsSource | None) -> ImageBatch:
    from ..hidra_core.sources.batch import ImageBatch

    return ImageBatch(taken(image), thermal)


def _corrected(
    node: Any,
    image: torch.Tensor,
    thermal: CountsSource | None,
    stage: SensorStage,
    camera: CameraProfile | None,
    *,
    in_order: bool = False,
) -> io.NodeOutput:
    """The output of a node that corrects images: they, and what was taken off."""
    progress = host.Progress()
    with host.noting():
        batch = _batch(image, thermal)
        if camera is not None:
            batch.check(camera)
            stage = replace(stage, camera=camera)
        results = [torch.empty_like(image, device="cpu", dtype=torch.float32) for _ in ("image", "to estimate")]
        lines = []
        for index, corrected in enumerate(batch.undone(stage, in_order=in_order)):
            results[0][index], results[1][index] = corrected.image, corrected.judged
            colours, found = "its colours are no grey: left alone", corrected.found
            lines.append(colours if found is None else found.summary(batch.unit, 1.0))
            progress((index + 1) / len(batch))
    if len(lines) > 1:
        lines = [f"image {number}: {line}" for number, line in enumerate(lines, 1)]
    text = "\n".join([*colour_doubts(taken(image)), *lines])
    return io.NodeOutput(*results, text, ui=shown(node, text))
