"""The camera that films radiance: noise, clipping, a response curve, quantisation, a codec.

Convention:
    radiance    (H, W, 3) float32 linear; 1.0 = the radiance at which the SHORTEST exposure clips.
    ldr         (H, W, 3) float32 code in [0, 1], gamma 2.2: the code inside the networks. A camera with another
                response quantises and compresses in that response, and its frames are then linearised with it and
                coded with gamma 2.2, as hdrvid does with every clip it reads.
    noise       variance = read_noise^2 + linear / full_well at linear exposure `linear` (1.0 = full scale), a Gaussian
                for the readout and for the photons (Foi et al., Practical Poissonian-Gaussian noise modeling, IEEE
                TIP 2008). It does not depend on the exposure: a short frame is noisier because it is multiplied more
                afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from hdrvid.color.curves import NETWORK_GAMMA
from hdrvid.color.response import NETWORK_RESPONSE, Response, levelled_response, sigmoid_response
from hdrvid.errors import InputError, UsageError
from hdrvid.io.response_files import load_response

Range = float | tuple[float, float]
"""A number, or the (lowest, highest) value of what is drawn once a clip."""

H264_PRESETS = ("ultrafast", "veryfast", "faster", "fast", "medium", "slow")
"""Presets of x264 that a camera may have: ultrafast has no B frames, the others do."""

BASE_FULL_WELL = 54_500.0
"""Electrons at full scale at ISO 100 of a full-frame sensor of 36 megapixels (Nikon D800E, measured 2013)."""


@dataclass(frozen=True)
class SynthesisOptions:
    """The camera that films a scene. Ranges are drawn once a clip: one camera films it all.

    Raises UsageError for values that no camera has, InputError for a response that is not known.
    """

    clip_percentile: Range = (98.5, 99.95)
    """Percentile of the reference frame's largest channel that just clips in the shortest exposure."""
    read_noise: Range = (1e-3, 3e-3)
    """Standard deviation of the read noise, as a share of full scale, linear."""
    full_well: Range | None = (2000.0, 20000.0)
    """Electrons at full scale, which set the shot noise; None = no shot noise."""
    bits: int | None = 8
    """Bits of the code: 8, 10, 12 or 16; None = not quantised."""
    jpeg_quality: Range | None = None
    """Quality (1 to 100) of a JPEG pass at 8 bits, a stand-in for an intra-frame codec; None = no damage."""
    gamma_jitter: Range = 0.0
    """Relative error of the response, known inexactly: the code is response(linear) ^ (1 / (1 + jitter))."""
    response: str = NETWORK_RESPONSE
    """Response that the frames are coded and later linearised with: a name `camera_response` takes."""
    h264_crf: Range | None = None
    """Constant rate factor (0 to 51) of an H.264 pass, 10 bit where `bits` is 10, else 8; None = no damage."""
    h264_preset: str = "veryfast"
    """Preset of x264, one of `H264_PRESETS`."""
    crushed: Range = 0.0
    """Share of the codes, from 0 on, that become black."""
    pedestal: Range = 0.0
    """Code that black is raised to."""
    knows_levels: bool = True
    """Whether frames are linearised with black where it is, as `hdrvid.detect.response` measures it."""
    contrast: Range = 0.0
    """Share of an S-curve in the code that nobody knows of."""
    exposure_error: Range = 0.0
    """Standard deviation, in stops, of what each exposure is off; one draw for an exposure."""
    colour_error: Range = 0.0
    """Standard deviation of the relative gain of each channel of an exposure; one draw for each."""
    sharpening: Range = 0.0
    """Amount of an unsharp mask of 1 px, before quantisation."""
    denoising: Range = 0.0
    """Difference of code up to which a bilateral filter of 1.5 px smooths, before quantisation; 0: none."""
    error_seed: int = 0
    """Seed of the errors of the exposures; `drawn` draws it where there are such errors."""

    def __post_init__(self) -> None:
        _check_range("clip_percentile", self.clip_percentile, 0.0, 100.0)
        _check_range("read_noise", self.read_noise, 0.0, 1.0)
        _check_range("gamma_jitter", self.gamma_jitter, -0.5, 1.0)
        for name in ("crushed", "pedestal", "contrast", "colour_error"):
            _check_range(name, getattr(self, name), 0.0, 0.5)
        _check_range("exposure_error", self.exposure_error, 0.0, 1.0)
        _check_range("sharpening", self.sharpening, 0.0, 3.0)
        _check_range("denoising", self.denoising, 0.0, 0.2)
        if self.full_well is not None:
            _check_range("full_well", self.full_well, 1.0, 1e9)
        if self.jpeg_quality is not None:
            _check_range("jpeg_quality", self.jpeg_quality, 1, 100)
        if self.h264_crf is not None:
            _check_range("h264_crf", self.h264_crf, 0.0, 51.0)
        if self.jpeg_quality is not None and self.h264_crf is not None:
            raise UsageError("a camera has one codec: give jpeg_quality or h264_crf, not both")
        if self.h264_preset not in H264_PRESETS:
            raise UsageError(f"h264_preset is '{self.h264_preset}': choose one of {', '.join(H264_PRESETS)}")
        if self.bits not in (None, 8, 10, 12, 16):
            raise UsageError(f"frames have 8, 10, 12 or 16 bits, not {self.bits}: choose one of these, or none")
        camera_response(self.response)

    def drawn(self, rng: np.random.Generator) -> SynthesisOptions:
        """One camera: every range replaced by a number from it."""
        return replace(
            self,
            clip_percentile=_draw(rng, self.clip_percentile),
            read_noise=_draw(rng, self.read_noise),
            full_well=None if self.full_well is None else _draw(rng, self.full_well),
            jpeg_quality=None if self.jpeg_quality is None else round(_draw(rng, self.jpeg_quality)),
            gamma_jitter=_draw(rng, self.gamma_jitter),
            h264_crf=None if self.h264_crf is None else _draw(rng, self.h264_crf),
            **self._drawn_real(rng),
        )

    def _drawn_real(self, rng: np.random.Generator) -> dict[str, Any]:
        """What real cameras do beside noise; nothing is drawn where none of it is asked for."""
        drawn = {name: getattr(self, name) for name in REAL_FIELDS if isinstance(getattr(self, name), tuple)}
        values: dict[str, Any] = {name: _draw(rng, value) for name, value in drawn.items()}
        errs = (self.exposure_error, self.colour_error) != (0.0, 0.0)
        return values | ({"error_seed": int(rng.integers(1, 2**31))} if errs and not self.error_seed else {})

    def gains(self, exposure: float) -> np.ndarray:
        """(3,) factors of R, G and B that this exposure is off by, the same in every frame."""
        stops, colour = drawn_value(self.exposure_error), drawn_value(self.colour_error)
        rng = np.random.default_rng([self.error_seed, round(1e4 * exposure)])
        return np.asarray(2.0 ** (stops * rng.standard_normal()) * (1 + colour * rng.standard_normal(3)), np.float32)

    @property
    def has_errors(self) -> bool:
        """Whether its exposures are off."""
        return bool(drawn_value(self.exposure_error) or drawn_value(self.colour_error))


REAL_FIELDS = ("crushed", "pedestal", "contrast", "exposure_error", "colour_error", "sharpening", "denoising")
"""What real cameras do beside noise, response and codec."""


def _draw(rng: np.random.Generator, value: Range) -> float:
    return float(rng.uniform(*value)) if isinstance(value, tuple) else float(value)


def drawn_value(value: Range) -> float:
    """The number that `SynthesisOptions.drawn` put in place of a range; ValueError for a range."""
    if isinstance(value, tuple):
        raise ValueError(f"the range {value} was not drawn yet: use SynthesisOptions.drawn")
    return float(value)


def _check_range(name: str, value: Range, lowest: float, highest: float) -> None:
    low, high = value if isinstance(value, tuple) else (value, value)
    if not lowest <= low <= high <= highest:
        raise UsageError(
            f"{name} is {value}, but it has to be a number or a rising range from {lowest:g} to {highest:g}"
        )


def camera_response(name: str) -> Response:
    """The response of that name: whatever `--response` takes, or `sigmoidN,S` for `sigmoid_response(N, S)`.

    Raises InputError for a name that is neither.
    """
    if match := re.fullmatch(r"sigmoid(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", name):
        exponent, sigma = float(match[1]), float(match[2])
        if not (exponent > 0 and sigma > 0):
            raise InputError(f"'{name}' is no response: give a sigmoid two numbers above 0, as in sigmoid0.9,0.6")
        return sigmoid_response(exponent, sigma)
    return load_response(name)


def assumed_response(camera: SynthesisOptions) -> Response:
    """The response that the frames of a drawn camera are linearised with."""
    response = camera_response(camera.response)
    crushed, pedestal = drawn_value(camera.crushed), drawn_value(camera.pedestal)
    if not camera.knows_levels or not (crushed or pedestal):
        return response
    # code 0 of the response is stored as (pedestal - crushed) / (1 - crushed)
    return levelled_response(response, (pedestal - crushed) / (1 - crushed), 1.0)


def sensor_noise(iso: float, read_electrons: float = 4.0) -> tuple[float, float]:
    """(read_noise, full_well) of a full-frame sensor at an ISO, in the units of `SynthesisOptions`.

    Full scale holds BASE_FULL_WELL electrons at ISO 100 and 100 / ISO of them elsewhere: the gain follows the ISO
    (measured on Canon bodies: comolli.astrosurf.com). The read noise is constant in electrons, as measured on a Nikon
    D4 between ISO 100 and 6400 (J. Kasson, luminous-landscape.com, 2013): 4 on the D800E, 3 in libjxl's photon noise,
    between 2 and 15 over the bodies that R. Clark measured (clarkvision.com). ISO 6400 is 850 electrons and 0.5 % read
    noise. An ISO below 100 stands for footage that was scaled down or denoised.
    Raises UsageError for an ISO that is not positive.
    """
    if not (np.isfinite(iso) and iso > 0):
        raise UsageError(f"an ISO is a positive number, not {iso}: give one from 25 to 6400")
    full_well = BASE_FULL_WELL * 100.0 / iso
    return read_electrons / full_well, full_well


def normalise(radiance_frames: Sequence[np.ndarray], percentile: float) -> tuple[list[np.ndarray], float]:
    """Frames divided by the `percentile` of the middle frame's largest channel, and that divisor.

    Takes and returns (H, W, 3) float32 frames; 1.0 then is where the shortest exposure clips.
    Raises InputError when there is no frame or the middle one is black.
    """
    if not len(radiance_frames):
        raise InputError("there are no frames to normalise: give at least one")
    scale = clipping_level(radiance_frames[len(radiance_frames) // 2], percentile)
    return [(np.asarray(frame, np.float32) / np.float32(scale)) for frame in radiance_frames], scale


def clipping_level(frame: np.ndarray, percentile: float) -> float:
    """The percentile of the largest channel of (H, W, 3), or the maximum where that percentile is black.

    Raises InputError when the frame is black or not finite.
    """
    brightest = np.max(frame, axis=-1)
    level = float(np.percentile(brightest, percentile)) or float(brightest.max())
    if not (np.isfinite(level) and level > 0):
        raise InputError("the reference frame is black or not finite: give HDR frames with some light in them")
    return level


def expose(
    radiance: np.ndarray, exposure: float, rng: np.random.Generator, options: SynthesisOptions | None = None
) -> np.ndarray:
    """One frame of a camera: noise, clipping, response, quantisation, JPEG damage.

    radiance: (H, W, 3), 1.0 = clipping at exposure 1. Returns (H, W, 3) float32 network code in [0, 1].
    Ranges in `options` are drawn from `rng` anew in every call: pass `options.drawn(rng)` to keep one camera.
    Raises UsageError for a camera with H.264, which codes frames together: see `film`.
    """
    camera = (options or SynthesisOptions()).drawn(rng)
    if camera.h264_crf is not None:
        raise UsageError("H.264 codes the frames of a clip together: film them together, or leave h264_crf out")
    code = _camera_code(radiance, exposure, rng, camera)
    if camera.jpeg_quality is not None:
        code = _jpeg(code, round(drawn_value(camera.jpeg_quality)))
    return assumed_response(camera).network_code(code).astype(np.float32, copy=False)


def film(
    radiance: np.ndarray,
    exposures: Sequence[float],
    rng: np.random.Generator,
    camera: SynthesisOptions,
    blurred: np.ndarray | None = None,
) -> np.ndarray:
    """The frames of a window or a clip, coded together where the camera has H.264.

    radiance: (T, H, W, 3), 1.0 = clipping at exposure 1. exposures: T linear exposures. Ranges in `camera` are drawn
    once. blurred: the same frames through an open shutter, which the longest exposure films instead; what the frames
    have to be compared with then is `open_shutter`.
    H.264 sees the latest frame of every exposure, with noise of its own, before the first one, so that the frames
    returned are P and B frames as nearly all of a clip are, not the intra frame a stream begins with.
    Returns (T, H, W, 3) float32 network code in [0, 1]; the same state of `rng` gives the same bytes.
    Raises ValueError where the numbers of frames and exposures differ.
    """
    camera = camera.drawn(rng)
    scene = open_shutter(radiance, exposures, blurred)
    if camera.h264_crf is None:
        return np.stack([expose(frame, e, rng, camera) for frame, e in zip(scene, exposures, strict=True)])
    response = assumed_response(camera)
    latest = {e: t for t, e in enumerate(exposures)}  # in the order in which the exposures first appear
    lead_in = list(latest.values())
    codes = [_camera_code(scene[t], exposures[t], rng, camera) for t in [*range(len(scene)), *lead_in]]
    clip = codes[len(scene) :] + codes[: len(scene)]
    bits = 10 if camera.bits == 10 else 8
    decoded = _h264(clip, len(lead_in), drawn_value(camera.h264_crf), camera.h264_preset, bits)
    return np.stack([response.network_code(code).astype(np.float32, copy=False) for code in decoded])


def open_shutter(radiance: np.ndarray, exposures: Sequence[float], blurred: np.ndarray | None) -> np.ndarray:
    """What each frame of a window saw: `blurred` where the exposure is the longest, else `radiance`.

    Both are (T, H, W, 3), as is the result, which is the truth of what `film` returns. blurred=None: all are sharp.
    Raises ValueError where the shapes or the number of exposures do not fit.
    """
    radiance = np.asarray(radiance, np.float32)
    if radiance.ndim != 4 or radiance.shape[-1] != 3 or len(exposures) != len(radiance):
        raise ValueError(f"radiance {radiance.shape} is not (T, H, W, 3) for {len(exposures)} exposures")
    if blurred is None:
        return radiance
    if blurred.shape != radiance.shape:
        raise ValueError(f"blurred frames have shape {blurred.shape}, not {radiance.shape}")
    longest = np.asarray(exposures) == max(exposures)
    return np.where(longest[:, None, None, None], blurred.astype(np.float32, copy=False), radiance)


def _camera_code(
    radiance: np.ndarray, exposure: float, rng: np.random.Generator, camera: SynthesisOptions
) -> np.ndarray:
    """(H, W, 3) float32 code of a drawn camera in its own response, before the codec."""
    if camera.has_errors:
        radiance = np.asarray(radiance, np.float32) * camera.gains(exposure)
    # beyond full scale the noise does not matter, and a sun would only cost precision
    linear = np.clip(np.asarray(radiance, np.float32) * np.float32(exposure), 0.0, 4.0)
    variance = np.full_like(linear, drawn_value(camera.read_noise) ** 2)
    if camera.full_well is not None:
        variance += linear / np.float32(drawn_value(camera.full_well))
    linear = linear + rng.standard_normal(linear.shape, dtype=np.float32) * np.sqrt(variance)
    code = camera_response(camera.response).encode(np.clip(linear, 0.0, 1.0))
    jitter = drawn_value(camera.gamma_jitter)
    if jitter:
        code = code ** np.float32(1 / (1 + jitter))
    code = _processed(code, camera)
    if camera.bits is not None:
        steps = np.float32(2**camera.bits - 1)
        code = np.round(code * steps) / steps
    return code


def _processed(code: np.ndarray, camera: SynthesisOptions) -> np.ndarray:
    """What a camera does to the picture it stores: contrast, noise reduction, sharpening, levels."""
    contrast, amount = drawn_value(camera.contrast), drawn_value(camera.sharpening)
    crushed, pedestal = drawn_value(camera.crushed), drawn_value(camera.pedestal)
    if contrast:
        code = code * np.float32(1 - contrast) + np.float32(contrast) * code * code * (3 - 2 * code)
    if sigma := drawn_value(camera.denoising):
        code = cv2.bilateralFilter(np.ascontiguousarray(code, np.float32), 5, sigma, 1.5)
    if amount:
        code = code + np.float32(amount) * (code - cv2.GaussianBlur(code, (0, 0), 1.0))
    if crushed or pedestal:
        code = (code * np.float32(1 - pedestal) + np.float32(pedestal - crushed)) / np.float32(1 - crushed)
    return np.clip(code, 0.0, 1.0) if amount or crushed else code


def _jpeg(code: np.ndarray, quality: int) -> np.ndarray:
    stored = np.round(code[..., ::-1] * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return decoded[..., ::-1].astype(np.float32) / np.float32(255)


def _h264(codes: Sequence[np.ndarray], first: int, crf: float, preset: str, bits: int) -> list[np.ndarray]:
    """Frames (H, W, 3) in [0, 1] through x264: 4:2:0, BT.709 matrix, limited range, 8 or 10 bits; back from `first` on.

    One thread each way: with more, the result depends on their number.
    """
    import av
    from av.codec.codec import UnknownCodecError
    from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

    from hdrvid.io.video import frame_codes

    height, width = codes[0].shape[:2]
    # swscale makes white of 65280, not 65535, on the way from 16 bits to limited range
    source, dtype, white = ("rgb24", np.uint8, 255) if bits == 8 else ("rgb48le", np.uint16, 65280)
    try:
        encoder: Any = av.CodecContext.create("libx264", "w")
    except UnknownCodecError:
        raise UsageError("this PyAV has no libx264: install the wheel of PyPI, or leave h264_crf out") from None
    encoder.width, encoder.height = width + width % 2, height + height % 2
    encoder.pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
    encoder.time_base, encoder.framerate = Fraction(1, 24), Fraction(24)
    encoder.colorspace, encoder.color_range = Colorspace.ITU709, ColorRange.MPEG
    encoder.thread_count = 1
    # cameras do not look ahead; and with AVX-512, mbtree's results differ from run to run
    encoder.options = {"crf": f"{crf:g}", "preset": preset, "x264-params": "mbtree=0"}
    reformatter = VideoReformatter()
    packets: list[Any] = []
    for index, code in enumerate(codes):
        stored = np.round(code * white).astype(dtype)
        padded = np.pad(stored, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(padded, format=source),
            format=encoder.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        frame.pts, frame.time_base = index, encoder.time_base
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    if len(frames) != len(codes):
        raise RuntimeError(f"{len(codes)} frames were coded, but {len(frames)} came back")
    return [frame_codes(frame)[:height, :width] for frame in frames[first:]]


# ---- what training draws ---------------------------------------------------------------------------------------------


def random_camera(rng: np.random.Generator) -> SynthesisOptions:
    """One camera of the training distribution.

    codec       65 % none, 10 % JPEG of quality 60 to 97, 25 % H.264 of CRF 16 to 30.
    noise       `sensor_noise` of an ISO from 25 to 6400 and 2 to 8 electrons of read noise, both log-uniform; with
                half of the cameras read noise is 2e-4 to 3e-3 of full scale whatever the ISO, as test sets have it.
    bits        two of three 8, one of three 10.
    response    45 % gamma 2.2, 20 % sRGB, 20 % Rec. 709, 8 % a gamma of 1.8 to 2.6, 7 % a sigmoid with the spread that
                Eilertsen et al. 2017 train with. Known exactly, but for 10 % that are off by a few percent.
    """
    codec = rng.random()
    read_noise, full_well = sensor_noise(_log_uniform(rng, 25, 6400), _log_uniform(rng, 2, 8))
    if rng.random() < 0.5:
        read_noise = _log_uniform(rng, 2e-4, 3e-3)
    return SynthesisOptions(
        read_noise=read_noise,
        full_well=full_well,
        bits=int(rng.choice([8, 8, 10])),
        jpeg_quality=int(rng.integers(60, 98)) if 0.65 <= codec < 0.75 else None,
        gamma_jitter=float(np.clip(rng.normal(0, 0.03), -0.1, 0.1)) if rng.random() < 0.1 else 0.0,
        response=_random_response(rng),
        h264_crf=float(rng.uniform(16, 30)) if codec >= 0.75 else None,
        h264_preset=str(rng.choice(["ultrafast", "veryfast", "medium"])),
    )


def real_camera(rng: np.random.Generator) -> SynthesisOptions:
    """A `random_camera` that does what cameras outside the laboratory do to their pictures, each by chance.

    levels      crushed blacks of up to 10 % of the codes (45 %) or a pedestal of up to 8 % (15 %); two of three are
                known, as hdrvid measures them.
    curve       an S-curve of up to a half that nobody knows of (25 %), a response known to 10 % (30 %).
    exposures   each up to about 0.1 stops off (40 %), its channels 1 to 3 % (50 %).
    picture     sharpening up to 1 (40 %), noise reduction up to 0.05 (40 %).
    codec       H.264 of CRF 18 to 30 on half of the cameras.
    """
    camera, level = random_camera(rng), rng.random()
    has_codec = camera.h264_crf is not None or rng.random() < 0.35

    def perhaps(share: float, low: float, high: float) -> float:
        value = float(rng.uniform(low, high))
        return value if rng.random() < share else 0.0

    return replace(
        camera,
        jpeg_quality=None if has_codec else camera.jpeg_quality,
        h264_crf=float(rng.uniform(18, 30)) if has_codec else None,
        crushed=float(rng.uniform(0.0, 0.1)) if level < 0.45 else 0.0,
        pedestal=float(rng.uniform(0.0, 0.08)) if level > 0.85 else 0.0,
        knows_levels=bool(rng.random() < 2 / 3),
        contrast=perhaps(0.25, 0.0, 0.5),
        gamma_jitter=perhaps(0.3, -0.1, 0.1),
        exposure_error=perhaps(0.4, 0.0, 0.1),
        colour_error=perhaps(0.5, 0.0, 0.02),
        sharpening=perhaps(0.4, 0.0, 1.0),
        denoising=perhaps(0.4, 0.005, 0.05),
        error_seed=int(rng.integers(1, 2**31)),
    )


def _random_response(rng: np.random.Generator) -> str:
    kind = str(rng.choice([NETWORK_RESPONSE, "srgb", "rec709", "gamma", "sigmoid"], p=[0.45, 0.2, 0.2, 0.08, 0.07]))
    if kind == "gamma":
        return f"gamma{rng.uniform(1.8, 2.6):.3f}"
    if kind == "sigmoid":
        exponent, sigma = (np.clip(rng.normal(mean, 0.1), mean - 0.3, mean + 0.3) for mean in (0.9, 0.6))
        return f"sigmoid{exponent:.3f},{sigma:.3f}"
    return kind


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_stops(rng: np.random.Generator, num_exposures: int) -> tuple[float, ...]:
    """Stops of the exposures of one cycle, rising from 0.

    2 exposures: 3 stops apart in 30 % of the draws, 1 to 5 with 3 the likeliest in 45 %, 4 to 7 in 25 %.
    3 exposures: steps of 2 and 2 stops in 35 %, two equal steps of 1 to 2.5 in 25 %, two different ones in 25 %, and
    two different ones of 2.5 to 3.5 in 15 %.
    Raises UsageError for another number of exposures.
    """
    kind = rng.random()
    if num_exposures == 2:
        moderate, wide = float(rng.triangular(1, 3, 5)), float(rng.uniform(4, 7))
        return (0.0, 3.0 if kind < 0.3 else moderate if kind < 0.75 else wide)
    if num_exposures == 3:
        low, high = (1.0, 2.5) if kind < 0.85 else (2.5, 3.5)
        first, second = (float(v) for v in rng.uniform(low, high, 2))
        if kind < 0.6:
            first = second = 2.0 if kind < 0.35 else first
        return (0.0, first, first + second)
    raise UsageError(f"a cycle has 2 or 3 exposures, not {num_exposures}: choose one of these")


def plain_camera(rng: np.random.Generator) -> SynthesisOptions:
    """One camera of the kind that test sets have: gamma 2.2 (half), sRGB or Rec. 709, known, no codec, little noise.

    What networks that begin from nothing learn from sooner than from `random_camera`.
    """
    return SynthesisOptions(
        read_noise=_log_uniform(rng, 4e-4, 3e-3),
        full_well=_log_uniform(rng, 3e3, 2e4),
        bits=int(rng.choice([8, 8, 10])),
        response=str(rng.choice([NETWORK_RESPONSE, NETWORK_RESPONSE, "srgb", "rec709"])),
    )


def plain_stops(rng: np.random.Generator, num_exposures: int) -> tuple[float, ...]:
    """Stops of one cycle of a `plain_camera`, rising from 0.

    2 exposures: 3 stops apart in 60 % of the draws, else 2 to 4. 3 exposures: steps of 2, else two equal ones of 1.5 to
    2.5. Raises UsageError for another number of exposures.
    """
    usual = rng.random() < 0.6
    if num_exposures == 2:
        return (0.0, 3.0 if usual else float(rng.uniform(2, 4)))
    if num_exposures == 3:
        step = 2.0 if usual else float(rng.uniform(1.5, 2.5))
        return (0.0, step, 2 * step)
    raise UsageError(f"a cycle has 2 or 3 exposures, not {num_exposures}: choose one of these")


def perturb_tone(code: np.ndarray, rng: np.random.Generator, strength: float = 0.1) -> np.ndarray:
    """The reference frame with its tone slightly off, for a flow network in training to be aligned to.

    Exposures and responses are never known exactly, so the reference brought to its neighbours' exposure never quite
    matches them. A flow network that has only seen exact matches follows brightness instead of shape. Perturb the
    reference BEFORE alignment, for the flow alone: what is merged is the frame itself. (Chen et al., HDR Video
    Reconstruction: A Coarse-to-fine Network and A Real-world Benchmark Dataset, ICCV 2021: one gamma a channel.)

    code: (H, W, 3) network code in [0, 1]; returned the same, with a gamma a channel and one linear gain, all drawn
    from exp(-strength) to exp(strength).
    """
    gammas = np.exp(rng.uniform(-strength, strength, 3)).astype(np.float32)
    gain = np.float32(np.exp(rng.uniform(-strength, strength) / NETWORK_GAMMA))
    return np.minimum(code ** (1 / gammas) * gain, np.float32(1))
