"""Configuration of a detector's frames: their source, what is read out of the sensor, simulated images."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ioc.core.config_table import Table as _Table

Pattern = Literal["peaks", "rings", "ramp", "counter", "sim_ramp", "sim_peaks", "sim_sine", "sim_noise"]
Pixels = Annotated[int, Field(ge=1, le=65536)]
Place = Annotated[int, Field(ge=0, le=65535)]
Amount = Annotated[float, Field(allow_inf_nan=False)]


class SourceConfig(_Table):
    """Where the detector's frames come from."""

    kind: Literal["generated", "replay", "pva"] = "generated"
    """`generated` images, `replay` of a file, or `pva`: another detector's NTNDArray channel."""
    pattern: Pattern = "peaks"
    """generated: gaussian peaks, rings with noise, a ramp, the frame's id, or what areaDetector's simDetector makes."""
    prepared: int = Field(default=16, ge=1, le=1024)
    """generated: different images that are made beforehand and shown in turn (`counter`, `ramp`: each is made anew)."""
    path: Path | None = None
    """replay: an HDF5 (.h5, .hdf5, .hdf, .nxs), .npy or .raw file."""
    dataset: str | None = None
    """replay of HDF5: path of the data set; may be left out if the file has exactly one with 3 dimensions."""
    loop: bool = True
    """replay: begin again at the end of the file; otherwise the series ends there."""
    channel: str | None = None
    """pva: name of the NTNDArray channel, for example `13SIM1:Pva1:Image`."""
    compressed: Literal["unpack", "keep"] = "unpack"
    """pva: what becomes of images that come compressed. `unpack`: they become pixels here; `keep`: they go on as they
    came, to the image channel and into files, and consumers unpack them (processor `decompress`)."""
    forward_controls: list[str] = Field(default=[])
    """pva: which puts to `cam1:` are handed on to the detector behind, for example ["Acquire", "AcquireTime"]; its
    read-backs are then shown. Left out: none, the detector behind is only watched."""
    controls: str | None = None
    """pva: what the names of its controls begin with; left out: the channel's less its last two parts, and `cam1:`."""

    @model_validator(mode="after")
    def _needs(self) -> Self:
        if self.kind == "replay" and self.path is None:
            raise ValueError("kind 'replay' needs the key 'path': the file to replay")
        if self.kind == "pva" and not self.channel:
            raise ValueError("kind 'pva' needs the key 'channel': the name of an NTNDArray channel")
        if self.forward_controls and self.kind != "pva":
            raise ValueError(f"forward_controls: expected kind 'pva', found {self.kind!r}")
        return self

    @property
    def controls_prefix(self) -> str:
        """What the names of the controls of the detector behind begin with."""
        if self.controls is not None:
            return self.controls
        return f"{(self.channel or '').rsplit(':', 2)[0]}:cam1:"


class ReadoutConfig(_Table):
    """The part of the sensor that is read out: `cam1:MinX`, `SizeX`, `BinX`, `ReverseX` and their twins in y."""

    offset: tuple[Place, Place] = (0, 0)
    """[x, y] of the first pixel, unbinned."""
    size: tuple[Pixels, Pixels] | None = None
    """[x, y], unbinned pixels; left out: all from `offset` on."""
    binning: tuple[Pixels, Pixels] = (1, 1)
    """[x, y] pixels that are summed up into one."""
    reverse: tuple[bool, bool] = (False, False)
    """[x, y]: whether the axis is reversed, after the region was cut out."""


class SineConfig(_Table):
    """One sine wave of pattern `sim_sine`."""

    amplitude: Amount = 1.0
    """Counts."""
    frequency: Amount = 1.0
    """Cycles in an image, if `gain_x` (`gain_y`) is 1."""
    phase: Amount = 0.0
    """Degrees."""


class SimulationConfig(_Table):
    """What simDetector's images are made with; for the patterns that begin with `sim_`."""

    gain: Amount = 1.0
    """`cam1:Gain`."""
    gain_xy: tuple[Amount, Amount] = (1.0, 1.0)
    """`cam1:GainX`, `cam1:GainY`."""
    gain_rgb: tuple[Amount, Amount, Amount] = (1.0, 1.0, 1.0)
    """`cam1:GainRed`, `cam1:GainGreen`, `cam1:GainBlue`; for RGB1."""
    offset: Amount = 0.0
    """Counts in every pixel."""
    noise: Amount = 0.0
    """Counts; each pixel gets a random part of it."""
    peak_start: tuple[int, int] = (1, 1)
    """sim_peaks: [x, y] of the first peak's centre, in pixels."""
    peak_number: tuple[Place, Place] = (1, 1)
    """sim_peaks: peaks along x and y."""
    peak_step: tuple[int, int] = (1, 1)
    """sim_peaks: pixels between peaks along x and y."""
    peak_width: tuple[Pixels, Pixels] = (10, 10)
    """sim_peaks: sigma along x and y, in pixels."""
    peak_variation: int = Field(default=0, ge=0, le=10_000)
    """sim_peaks: percent by which a peak may be higher."""
    x_sines: tuple[SineConfig, SineConfig] = (SineConfig(), SineConfig(amplitude=0.0))
    """sim_sine: the two waves along x."""
    y_sines: tuple[SineConfig, SineConfig] = (SineConfig(), SineConfig(amplitude=0.0))
    """sim_sine: the two waves along y."""
    x_operation: Literal["Add", "Multiply"] = "Add"
    """sim_sine: how the waves along x are put together."""
    y_operation: Literal["Add", "Multiply"] = "Add"
    """sim_sine: how the waves along y are put together."""
