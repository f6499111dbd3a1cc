"""What happens before the first frame: the clip is opened and looked at, the model loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hdrvid.color.gamuts import GAMUTS
from hdrvid.compiled.calls import Calls
from hdrvid.compiled.first_run import FirstRun
from hdrvid.detect.clip import Detection, open_input, required_exposures
from hdrvid.errors import ModelError, OutputError
from hdrvid.io.frames import FramesReader
from hdrvid.io.master_video import check_master
from hdrvid.io.tracks import TracksReader
from hdrvid.pipeline.distributed import agreed_detection, in_each
from hdrvid.pipeline.job import Job, frame_range, require_class, require_colours, require_windows
from hdrvid.pipeline.options import (
    ReconstructOptions,
    exr_compression,
    makes_aces_container,
    parse_white,
    validate_options,
)
from hdrvid.predict.registry import FOR_COMPRESSED, load_reconstructor, weights_for
from hdrvid.ranks import Ranks, local_device
from hdrvid.types import ClipInfo, ClipReader, Reconstructor

Phase = Callable[[str, str | None], None]
"""Called with the name of a part of the work and None where it begins, and with what came of it where it ends."""

SEARCHES = {"default": Calls(search=True, candidates=True), "fast": Calls(search=True)}
"""Of the models whose search is known before they are loaded, what it calls where its options are the usual ones."""


def no_phase(name: str, result: str | None) -> None:
    """Stands for a callback that the caller did not give."""


def set_up(
    stack: ExitStack,
    inputs: Sequence[str],
    out: Path,
    options: ReconstructOptions,
    ranks: Ranks,
    message: Callable[[str], None],
    phase: Phase,
) -> Job:
    """Open a clip and make ready to write its frames into `out`. What has to be closed is closed by `stack`."""

    def opened() -> ClipReader:
        validate_options(options, out)
        reader = stack.enter_context(open_input(inputs, options, options.fps))
        _require_other_folder(reader, out)
        return reader

    return prepare_job(stack, in_each(ranks, opened), out, options, ranks, message, phase)


def prepare_job(
    stack: ExitStack,
    reader: ClipReader,
    out: Path,
    options: ReconstructOptions,
    ranks: Ranks,
    message: Callable[[str], None],
    phase: Phase = no_phase,
) -> Job:
    """Look at an open clip and load the model. Processes that compile end with `stack`."""
    first_run = stack.enter_context(FirstRun(ranks.world == 1, lambda: phase("compiling", None)))
    background = stack.enter_context(ThreadPoolExecutor(1, "hdrvid-prepare"))
    search = SEARCHES.get(str(options.model).removesuffix(FOR_COMPRESSED)) if options.align == "auto" else None
    loading = background.submit(_load_libraries, first_run, search)
    phase("exposures", None)
    detection = agreed_detection(reader, options, ranks)
    exposures = required_exposures(detection)
    require_colours(options, detection.info)
    require_class(options, exposures)
    if options.dnxhr is not None:
        check_master("dnxhr", options.dnxhr, reader.info.width, reader.info.height)
    first, last = frame_range(options, reader.info)
    phase("exposures", f"{exposures} stops")
    phase("curve", detection.response.name)
    for text in detection_messages(detection, options):
        message(text)
    parse_white(options.white, exposures)
    loading.result()
    reconstructor = _load_model(options, exposures.network_exposures, reader.info, ranks)
    require_windows(reconstructor, exposures)
    from hdrvid.predict.runner import ModelRunner

    if isinstance(reconstructor, ModelRunner):
        shown = options.preview and options.tonemap == "neutral"
        first_run.add(replace(reconstructor.compiled_calls, display=shown))
        seconds = first_run.finish()
        if seconds is not None:
            phase("compiling", f"{seconds:.0f} s")
    return Job(reader, detection, exposures, reconstructor, options, out, first, last, ranks)


def detection_messages(detection: Detection, options: ReconstructOptions) -> list[str]:
    """What the user is told about a clip, and the colours of its results, before its frames are made."""
    messages = [f"warning: {text}" for text in detection.warnings]
    if detection.measured and detection.measured.corrected:
        messages.append(f"{detection.measured.reason}: corrected (--no-deflicker leaves them)")
    if detection.response_from == "assumed":
        why = f" ({detection.response_reason})" if detection.response_reason else ""
        messages.append(f"assuming the response {detection.response.name}{why}; --response names another")
    elif detection.response_from == "measured":
        messages.append(f"response {detection.response.name}: {detection.response_reason}")
    if detection.levels is not None:
        messages.append(f"levels: {detection.info.details['levels']}")
    if detection.info.one_channel and options.format == "hdr":
        messages.append("Radiance .hdr has no kind with one channel: the frames have grey in R, G and B")
    elif detection.gamut != GAMUTS[options.primaries] and not detection.info.one_channel:
        messages.append(f"primaries {detection.gamut.name} ({detection.gamut_from}): converted to {options.primaries}")
    compression = exr_compression(options)
    is_aces = makes_aces_container(options, compression)
    if options.primaries == "aces2065-1" and options.format == "exr" and not is_aces:
        messages.append(
            f"warning: {compression} {options.depth} frames{' with --unmeasured' if options.unmeasured else ''} are no "
            "ACES container, which has half floats of the colours alone, without compression (SMPTE ST 2065-4): the "
            "header has no acesImageContainerFlag"
        )
    return messages


def _load_libraries(first_run: FirstRun, search: Calls | None) -> None:
    """Begin with what the search calls, where that is known, and load PyTorch, which takes a second."""
    if search is not None:
        first_run.add(search, alone=False)
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:  # a library of it that is missing, or of another machine
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ModelError(f"PyTorch cannot be loaded ({reason}): install torch again") from error
    import hdrvid.predict.runner
    import hdrvid.weights  # noqa: F401


def _load_model(options: ReconstructOptions, num_exposures: int, info: ClipInfo, ranks: Ranks) -> Reconstructor:
    """The model, which cuts frames into the same tiles in every process: those of the one with the least memory."""
    from hdrvid.predict.runner import ModelRunner

    is_compressed = info.compressed if options.compressed == "auto" else options.compressed == "yes"
    model = in_each(
        ranks,
        lambda: load_reconstructor(
            weights_for(options.model, num_exposures, is_compressed),
            num_exposures,
            device=local_device(options.device),
            precision=options.precision,
            tile=options.tile,
            align=options.align == "auto",
            compiled=options.compile,
        ),
    )
    if isinstance(model, ModelRunner):
        sides = ranks.each(lambda: model.tile_px(info.height, info.width))
        model.use_tile_px(min((side for side in sides if side), default=None))
    return model


def _require_other_folder(reader: ClipReader, out: Path) -> None:
    """Raise OutputError where results would be written among the frames they are made from, or over them."""
    if not isinstance(reader, FramesReader | TracksReader):
        return
    if isinstance(reader, TracksReader):
        for track in reader.tracks:
            _require_other_folder(track, out)
        return
    for folder in dict.fromkeys(path.parent for path in reader.paths):
        if folder.resolve() == out.resolve():
            raise OutputError(f"{out} holds the frames of {reader.info.source}: choose another folder for the results")
