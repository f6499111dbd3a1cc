"""Options of `hdrvid report`."""

from __future__ import annotations

from dataclasses import dataclass, field

from hdrvid.options.metadata import DEVICE, TONEMAP, option


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows. Checked by `hdrvid.html.report_options.validate_options`."""

    clip: str | None = field(
        default=None,
        metadata=option(
            "The original clip, where it is no longer where it was. Without it there is nothing to compare with.",
            metavar="INPUT",
        ),
    )
    frames: str | None = field(
        default=None,
        metadata=option(
            "Frames to show, counted from 0, at most 64; without it about 8, evenly spaced.", metavar="A,B-C"
        ),
    )
    weights: bool = field(
        default=True,
        metadata=option(
            "Run the model on the frames shown, for blend weights and flow.", flag="--weights/--no-weights"
        ),
    )
    motion: bool = field(
        default=True,
        metadata=option(
            "Show up to 72 results in a row as a video, with the frames as shot.", flag="--motion/--no-motion"
        ),
    )
    model: str | None = field(
        default=None,
        metadata=option("The model of the results, where it is a file of your own.", metavar="NAME|FILE"),
    )
    device: str = field(default="auto", metadata=DEVICE)
    tonemap: str = field(default="neutral", metadata=TONEMAP)
