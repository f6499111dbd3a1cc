"""Options of `hdrvid reconstruct`, and those of them that `hdrvid info` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from hdrvid.options.metadata import CAMERA, DEVICE, MACHINE, MODEL, OUTPUT, PRECISION, TONEMAP, VIEWING, option
from hdrvid.options.parse import parse_factors, parse_frame_range, parse_rate

EXPOSURE_CLASSES = ("all", "short", "middle", "long")
"""What `--only` takes, beside a number."""

COMPRESSED = ("auto", "yes", "no")
"""What `--compressed` takes."""

RESULTS = ("frame", "bracket")
"""What `--every` takes."""

VIDEO_SUFFIXES = {"preview": "mp4", "hdr10": "mp4", "hlg": "mp4", "prores": "mov", "dnxhr": "mov"}
"""Videos that a run can write, and the ends of their names."""

FORMATS = ("exr", "hdr")
"""What `--format` takes."""

MAX_START_NUMBER = 99_999_999
"""Largest `--start-number`."""

OUTPUT_PRIMARIES = ("rec709", "rec2020", "p3d65", "acescg", "aces2065-1")
"""What `--primaries` takes."""


@dataclass(frozen=True)
class ClipOptions:
    """What the user says about a clip."""

    exposures: str = field(
        default="auto",
        metadata=option(
            "Exposures of one cycle, beginning with the first frame of the clip: stops, 1/500,1/60, 2ms,16ms or "
            "iso100,iso1600; or a file, one exposure a line, or a CSV or JSON table with a row a frame. auto measures "
            "them.",
            metavar="auto|0,3|FILE",
            panel=CAMERA,
        ),
    )
    response: str = field(
        default="auto",
        metadata=option(
            "Camera curve of the input: gamma2.2 or another gamma, srgb, rec709, linear, slog3, vlog, logc3, logc4, "
            "clog3, pq, hlg, or a measured one (.mat, .csv). auto: linear for EXR and .hdr frames, the tag of a PQ, "
            "HLG or linear clip, else what the pixels show, else gamma2.2 or the tag of the clip.",
            metavar="auto|NAME|FILE",
            panel=CAMERA,
        ),
    )
    input_primaries: str = field(
        default="auto",
        metadata=option(
            "Primaries of the clip: rec709, rec2020, p3d65, sgamut3, ... auto takes the tag, ICC profile or EXR "
            "header, or the gamut that a log curve comes with. --primaries is that of the results.",
            metavar="auto|NAME",
            panel=CAMERA,
        ),
    )
    bits: int | None = field(
        default=None,
        metadata=option(
            "Bits of the sensor, where the files store them in 16. By default they are found from the codes.",
            metavar="8..16",
            minimum=8,
            maximum=16,
            panel=CAMERA,
        ),
    )
    black_level: float | None = field(
        default=None,
        metadata=option(
            "Stored code of no light, as the files have it. By default it is found where the codes are linear.",
            metavar="CODE",
            minimum=0,
            maximum=65535,
            panel=CAMERA,
        ),
    )
    white_level: float | None = field(
        default=None,
        metadata=option(
            "Stored code at which the sensor clips, as the files have it. By default it is found from the codes.",
            metavar="CODE",
            minimum=0,
            maximum=65535,
            panel=CAMERA,
        ),
    )
    bayer: str = field(
        default="auto",
        metadata=option(
            "The one-channel frames are the mosaic of a colour sensor with this pattern, read from the upper left, and "
            "are demosaiced. auto refuses what looks like a mosaic; none takes every grey frame as a picture.",
            metavar="auto|none|rggb|bggr|grbg|gbrg",
            panel=CAMERA,
        ),
    )
    white_balance: tuple[float, float, float] | None = field(
        default=None,
        metadata=option(
            "Factors of the colours of a mosaic. By default they stay as the sensor has them.",
            metavar="R,G,B",
            parse=parse_factors,
            panel=CAMERA,
        ),
    )
    tracks: str | None = field(
        default=None,
        metadata=option(
            "The INPUTs are one clip, each with all moments in one exposure (RED HDRx): their stops, in order. "
            "Every moment gets one result, of the first track's frame unless --only names another.",
            metavar="0,6",
            panel=CAMERA,
        ),
    )
    deinterlace: bool = field(
        default=False,
        metadata=option(
            "Make whole frames of interlaced video: the first field of each, the rows between interpolated.",
            panel=CAMERA,
        ),
    )


@dataclass(frozen=True)
class DetectOptions(ClipOptions):
    """What decides how a clip is read."""

    regular: bool = field(
        default=False,
        metadata=option(
            "Trust the cycle: dropped and doubled frames are warned of, not corrected, cuts and flashes are not looked "
            "for, a damaged frame ends the run. With --frames the clip is then not read from its start.",
            panel=CAMERA,
        ),
    )
    """Declared exposures are taken although the pixels contradict them."""
    deflicker: bool = field(
        default=True,
        metadata=option(
            "Measure exposures that are a little off (0.05 to 0.5 stops) on aligned pixels and correct them.",
            flag="--deflicker/--no-deflicker",
            panel=CAMERA,
        ),
    )


@dataclass(frozen=True)
class ReconstructOptions(DetectOptions):
    """What decides a reconstruction. Checked by `hdrvid.pipeline.options.validate_options`."""

    model: str = field(default="default", metadata=MODEL | {"panel": MACHINE})
    device: str = field(default="auto", metadata=DEVICE | {"panel": MACHINE})
    precision: str = field(default="auto", metadata=PRECISION | {"panel": MACHINE})
    compile: bool = field(
        default=False,
        metadata=option(
            "Compile the networks (torch.compile) where that can be done; takes a while.",
            flag="--compile/--no-compile",
            panel=MACHINE,
        ),
    )
    tile: str = field(
        default="auto",
        metadata=option("Work in tiles of this size, for little memory.", metavar="auto|off|PIXELS", panel=MACHINE),
    )
    frame_range: tuple[int, int] | None = field(
        default=None,
        metadata=option(
            "Only these input frames, both included. They are counted from 0, whatever their numbers, and come out "
            "exactly as in a full run.",
            flag="--frames",
            metavar="A-B",
            parse=parse_frame_range,
            panel=OUTPUT,
        ),
    )
    """None: all."""
    start_number: int | None = field(
        default=None,
        metadata=option(
            "Number of the first frame of the clip in the names of the results. By default an image sequence keeps "
            "the numbers of its files, and a video counts from 000000. Gaps stay gaps.",
            metavar="N",
            minimum=0,
            maximum=MAX_START_NUMBER,
            panel=OUTPUT,
        ),
    )
    only: str = field(
        default="all",
        metadata=option(
            "Make the frames of one exposure alone, in half or a third of the time; videos get their rate. A number "
            "counts the exposures from the shortest, 1.",
            metavar="|".join((*EXPOSURE_CLASSES, "N")),
            panel=OUTPUT,
        ),
    )
    every: str = field(
        default="frame",
        metadata=option(
            "What gets a result. bracket: a run of the cycle, from its frames alone, as for timelapses and scans; the "
            "result shows the frame of the middle exposure, or that of --only.",
            metavar="|".join(RESULTS),
            panel=OUTPUT,
        ),
    )
    fps: Fraction | None = field(
        default=None,
        metadata=option(
            "Frames per second of an image sequence, 24 without it. Frames of another rate are made again.",
            metavar="RATE",
            parse=parse_rate,
            panel=CAMERA,
        ),
    )
    compressed: str = field(
        default="auto",
        metadata=option(
            "Whether camera and codec have sharpened, smoothed and compressed the pictures: models then have other "
            "weights. auto: JPEG, H.264, HEVC and the like below 2.5 bits a pixel. yes: also what became ProRes or PNG "
            "later.",
            metavar="|".join(COMPRESSED),
            panel=CAMERA,
        ),
    )
    format: str = field(
        default="exr",
        metadata=option("OpenEXR or Radiance .hdr.", metavar="|".join(FORMATS), panel=OUTPUT),
    )
    primaries: str = field(
        default="rec709",
        metadata=option(
            "Primaries of the frames, which the header names. Colours outside of them are negative in EXR and clipped "
            "in .hdr. aces2065-1 without compression is an ACES container (ST 2065-4). Videos stay as they are.",
            metavar="|".join(OUTPUT_PRIMARIES),
            panel=OUTPUT,
        ),
    )
    depth: str = field(
        default="half",
        metadata=option("Samples of EXR: 16 or 32 bits a channel.", metavar="half|float", panel=OUTPUT),
    )
    unmeasured: bool = field(
        default=False,
        metadata=option(
            "EXR gets a channel `unmeasured`: 1 where nothing that was filmed says more than that it is brighter than "
            "the value, or, with crushed blacks, darker.",
            panel=OUTPUT,
        ),
    )
    compression: str = field(
        default="auto",
        metadata=option(
            "EXR compression: zip, zips, piz, rle and none are exact, and so is zstd, which is new: older readers "
            "cannot open it. dwaa, dwab, b44 and b44a are lossy and write some black pixels as values just below 0. "
            "auto: zip, but none for aces2065-1.",
            metavar="NAME",
            panel=OUTPUT,
        ),
    )
    white: str = field(
        default="longest",
        metadata=option(
            "The exposure whose clipping is 1.0 in the file; a NUMBER is the file value at which the longest exposure "
            "clips.",
            metavar="longest|shortest|NUMBER",
            panel=OUTPUT,
        ),
    )
    align: str = field(
        default="auto",
        metadata=option(
            "auto: the camera's motion, and that between frames of equal exposure, where they fit better than the "
            "dense flow. off: the dense flow alone.",
            metavar="auto|off",
            panel=MACHINE,
        ),
    )
    tonemap: str = field(default="neutral", metadata=TONEMAP | {"panel": VIEWING})
    preview: bool = field(
        default=True,
        metadata=option("Write STEM.preview.mp4.", flag="--preview/--no-preview", panel=VIEWING),
    )
    hdr10: bool = field(
        default=False, metadata=option("Write STEM.hdr10.mp4: 10-bit HEVC, PQ, BT.2020.", panel=VIEWING)
    )
    hlg: bool = field(default=False, metadata=option("Write STEM.hlg.mp4: 10-bit HEVC, HLG, BT.2020.", panel=VIEWING))
    prores: str | None = field(
        default=None,
        metadata=option(
            "Write STEM.prores.mov for grading: ProRes 4444, 10 bit, of this curve: hlg, pq, slog3, vlog, logc3, "
            "logc4, clog3. A log curve has its camera's gamut, and 1.0 of the frames is a reflectance of 1.",
            metavar="CURVE",
            panel=VIEWING,
        ),
    )
    """None: no such video."""
    dnxhr: str | None = field(
        default=None,
        metadata=option("The same as DNxHR HQX, STEM.dnxhr.mov.", metavar="CURVE", panel=VIEWING),
    )
    """None: no such video."""
    peak_nits: float | None = field(
        default=None,
        metadata=option(
            "Peak of the HDR10 display, 100 to 10000 cd/m2; what is brighter is rolled off. By default the smallest "
            "of 1000, 2000, 4000 and 10000 that shows everything.",
            metavar="NITS",
            panel=VIEWING,
        ),
    )
    audio: bool = field(
        default=True,
        metadata=option("Videos carry the sound of the clip.", flag="--audio/--no-audio", panel=VIEWING),
    )
    anyway: bool = field(
        default=False,
        metadata=option("Begin although the disk will not hold the results.", panel=OUTPUT),
    )
    overwrite: bool = field(
        default=False,
        metadata=option("Make every frame again; without it finished frames are kept.", panel=OUTPUT),
    )
