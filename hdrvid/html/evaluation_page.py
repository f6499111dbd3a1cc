"""`report.html`: scores, plots and pictures of an evaluation in one file.

The page holds everything it shows and may load nothing (its Content-Security-Policy says so); it runs no script.
Pictures are enlarged by radio buttons and CSS: the arrow keys then switch between the pictures of a frame in place.
"""

from __future__ import annotations

import base64
import itertools
import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hdrvid import pictures
from hdrvid.errors import InputError
from hdrvid.evaluate.measures import MEASURES, Measure
from hdrvid.evaluate.results import CLASSES
from hdrvid.evaluate.samples import Sample

MAX_LOSSLESS_BYTES = 64_000_000
"""Pictures of more bytes than this together are embedded as lossy WebP, or a browser would not open the page."""
WEBP_QUALITY = 88
"""About a tenth of the PNG."""
OPEN_SCENES = 12
"""With more scenes than this every scene is folded."""
LISTED_FAILURES = 20
"""Failures beyond these are folded."""
MAX_DOTS = 120
"""A plot of more frames than this has lines only."""
_DIGITS = {"dB": 2, "%": 2, "JOD": 3}
"""Digits behind the point by unit; figures without one have 4, but for:"""
_DIGITS_OF = {"hdr_vdp_2": 2}


@dataclass(frozen=True)
class _Model:
    """One row of the tables."""

    name: str
    table: Mapping[str, Any]
    """`overall`, `by_exposure`, `scenes`, ..."""
    provenance: Mapping[str, Any]
    is_baseline: bool


def report_html(results: Mapping[str, Any], samples: Sequence[Sample]) -> str:
    """The page, from what `results.json` holds and the frames to be shown.

    `spread`, `seconds` and `failures` may be missing from the results. Raises InputError where a picture of a sample
    cannot be read.
    """
    models = _models(results)
    names = list(results["overall"])
    embed = _Embedder(samples)
    title = f"{results['dataset']}: {models[0].name}"
    scenes = list(results["scenes"])
    folded = len(scenes) > OPEN_SCENES
    parts = [
        f"<header><h1>{_text(results['dataset'])} <small>{_text(models[0].name)}</small></h1>"
        f'<p class="quote" title="to be quoted with the figures">{_text(results["protocol"])}</p></header>',
        _failures(results.get("failures") or ()),
        f"<section><h2>Scores</h2>{_score_table(models, names)}{_table_note(models, names)}</section>",
        f"<section><h2>Models</h2>{_model_table(models, results)}</section>",
        f"<section><h2>Scenes</h2>{_scene_table(models, names, scenes)}</section>",
        _key(samples, embed.lossy),
    ]
    for number, scene in enumerate(scenes):
        own = [s for s in samples if s.scene == scene]
        parts.append(_scene_section(number, scene, models, names, own, embed, folded))
    page = _PAGE.replace("@POLICY@", _POLICY).replace("@STYLE@", _STYLE)
    # the names of scenes come last, and nothing is replaced inside them
    before, after = page.split("@BODY@")
    return before.replace("@TITLE@", _text(title)) + "\n".join(parts) + after


def _models(results: Mapping[str, Any]) -> list[_Model]:
    own = {k: v for k, v in results["model"].items() if k != "name"}
    baselines = results.get("baselines") or {}
    return [
        _Model(str(results["model"]["name"]), results, own, False),
        *(_Model(str(name), table, {}, True) for name, table in baselines.items()),
    ]


# ---- text ------------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _measure(name: str) -> Measure:
    return MEASURES.get(name) or Measure(name, name)


def _digits(name: str) -> int:
    return _DIGITS_OF.get(name, _DIGITS.get(_measure(name).unit, 4))


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if math.isfinite(value) else str(float(value))


def _with_unit(value: float | None, name: str) -> str:
    unit = _measure(name).unit
    return _number(value, _digits(name)) + (f" {unit}" if unit and value is not None else "")


def _arrow(name: str) -> str:
    if name not in MEASURES:
        return ""
    return "↑" if MEASURES[name].larger_is_better else "↓"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


# ---- tables ----------------------------------------------------------------------------------------------------------


def _frames(model: _Model, scene: str | None = None, exposure: str | None = None) -> list[Mapping[str, Any]]:
    scenes = model.table.get("scenes", {})
    chosen = scenes.values() if scene is None else [scenes[scene]] if scene in scenes else []
    return [f for entry in chosen for f in entry["frames"] if exposure is None or f["exposure"] == exposure]


def _values(frames: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    return [float(v) for f in frames if (v := f.get(name)) is not None]


def _spread(given: Mapping[str, Any] | None, frames: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """The standard deviation that was given, else of the frames; None of a single value, which has none."""
    values = _values(frames, name)
    if len(values) == 1:
        return None
    if given is not None and name in given:
        # a measure of whole clips has no values of frames: 0 is that of a single clip
        return given[name] if values else given[name] or None
    return float(np.std(values)) if values and all(map(math.isfinite, values)) else None


@dataclass(frozen=True)
class _Row:
    heads: str
    """HTML of the cells before the figures."""
    means: Mapping[str, float | None]
    spread: Callable[[str], float | None] = lambda name: None


def _figure_cells(rows: Sequence[_Row], names: Sequence[str]) -> list[str]:
    """HTML of the rows of one group, the best of every column marked."""
    best = {name: _best([row.means.get(name) for row in rows], name) for name in names}
    lines = []
    for i, row in enumerate(rows):
        cells = []
        for name in names:
            mean, spread = row.means.get(name), row.spread(name)
            shown = _number(mean, _digits(name))
            if i in best[name]:
                shown = f'<b>{shown}<span class="hidden"> best</span></b>'
            aside = f'<small class="sd">±{_number(spread, _digits(name))}</small>' if spread is not None else ""
            cells.append(f'<td class="n">{shown}{aside}</td>')
        lines.append(row.heads + "".join(cells))
    return lines


def _best(values: Sequence[float | None], name: str) -> set[int]:
    """Rows with the best value as it is printed; none where all are equal or the measure is not known."""
    known = {i: round(v, _digits(name)) for i, v in enumerate(values) if v is not None and not math.isnan(v)}
    if name not in MEASURES or len(known) < 2 or len(set(known.values())) < 2:
        return set()
    top = (max if MEASURES[name].larger_is_better else min)(known.values())
    return {i for i, v in known.items() if v == top}


def _column_heads(names: Sequence[str]) -> str:
    def head(name: str) -> str:
        below = " ".join(x for x in (_text(_measure(name).unit), _arrow(name)) if x)
        return f'<th scope="col" class="n">{_text(_measure(name).title)}<small>{below or "&nbsp;"}</small></th>'

    return "".join(head(n) for n in names)


def _table(heads: str, groups: Iterable[Sequence[str]], kind: str = "") -> str:
    bodies = "".join("<tbody>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</tbody>" for rows in groups)
    return f'<div class="scroll"><table class="{kind}"><thead><tr>{heads}</tr></thead>{bodies}</table></div>'


def _score_table(models: Sequence[_Model], names: Sequence[str]) -> str:
    groups = []
    present = [c for c in CLASSES if any(c in m.table.get("by_exposure", {}) for m in models)]
    for exposure in (None, *present):
        rows = []
        for m in models:
            frames = _frames(m, exposure=exposure)
            means = m.table["overall"] if exposure is None else m.table["by_exposure"].get(exposure, {})
            given = m.table.get("spread") if exposure is None else None
            rows.append(
                _Row(
                    f'<th scope="row">{_text(m.name)}</th>',
                    means,
                    lambda name, given=given, frames=frames: _spread(given, frames, name),  # type: ignore[misc]
                )
            )
        lines = _figure_cells(rows, names)
        count = _counted(max(len(_frames(m, exposure=exposure)) for m in models), "frame")
        dot = f'<i class="dot {exposure}"></i>' if exposure else ""
        lines[0] = (
            f'<th scope="rowgroup" rowspan="{len(rows)}">{dot}{exposure or "all"}<small>{count}</small></th>' + lines[0]
        )
        groups.append(lines)
    return _table(f'<th scope="col">exposure</th><th scope="col">model</th>{_column_heads(names)}', groups, "scores")


def _table_note(models: Sequence[_Model], names: Sequence[str]) -> str:
    of_clip = [_measure(n).title for n in names if _measure(n).of_clip]
    notes = ["Mean ± standard deviation over frames" + (f"; {', '.join(of_clip)} over clips." if of_clip else ".")]
    notes.append("↑ larger is better, ↓ smaller is better.")
    if len(models) > 1:
        notes.append("Bold: best of the models.")
    notes.append("–: does not apply.")
    return f'<p class="note">{_text(" ".join(notes))}</p>'


def _model_table(models: Sequence[_Model], results: Mapping[str, Any]) -> str:
    rows = []
    for m in models:
        seconds = m.table.get("seconds")
        if isinstance(results.get("seconds"), Mapping):
            seconds = results["seconds"].get(m.name)
        facts = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in m.provenance.items())
        provenance = ""
        if facts:
            short = str(m.provenance.get("sha256", ""))[:12]
            summary = f"sha256 {_text(short)}…" if short else "provenance"
            provenance = f"<details><summary>{summary}</summary><dl>{facts}</dl></details>"
        role = "baseline" if m.is_baseline else "model"
        time = "–" if seconds is None else f"{1000 * seconds:.0f}"
        rows.append(
            f'<th scope="row">{_text(m.name)}</th><td>{role}</td><td class="n">{time}</td><td>{provenance}</td>'
        )
    heads = "".join(
        f'<th scope="col"{c}>{t}</th>'
        for t, c in (("name", ""), ("role", ""), ("ms/frame", ' class="n"'), ("provenance", ""))
    )
    return _table(heads, [rows], "models")


def _scene_table(models: Sequence[_Model], names: Sequence[str], scenes: Sequence[str]) -> str:
    groups = []
    for number, scene in enumerate(scenes):
        rows = []
        for m in models:
            entry = m.table.get("scenes", {}).get(scene, {})
            frames, given = _frames(m, scene), entry.get("spread")
            rows.append(
                _Row(
                    f'<th scope="row">{_text(m.name)}</th>',
                    entry.get("overall", {}),
                    lambda name, given=given, frames=frames: _spread(given, frames, name),  # type: ignore[misc]
                )
            )
        lines = _figure_cells(rows, names)
        count = _counted(len(_frames(models[0], scene)), "frame")
        lines[0] = (
            f'<th scope="rowgroup" rowspan="{len(rows)}"><a href="#scene-{number}">{_text(scene)}</a>'
            f"<small>{count}</small></th>" + lines[0]
        )
        groups.append(lines)
    return _table(f'<th scope="col">scene</th><th scope="col">model</th>{_column_heads(names)}', groups, "scores")


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    if not failures:
        return ""

    def line(failure: Mapping[str, Any]) -> str:
        scene, frame = failure.get("scene"), failure.get("frame")
        where = ", ".join(_text(x) for x in (scene, None if frame is None else f"frame {frame}") if x is not None)
        return f"<li>{f'<b>{where}</b>: ' if where else ''}{_text(failure.get('error', ''))}</li>"

    lines = [line(f) for f in failures]
    shown, rest = lines[:LISTED_FAILURES], lines[LISTED_FAILURES:]
    more = f"<details><summary>{len(rest)} more</summary><ul>{''.join(rest)}</ul></details>" if rest else ""
    return (
        f'<section class="failures"><h2>{_counted(len(lines), "failure")}, left out of all means</h2>'
        f"<ul>{''.join(shown)}</ul>{more}</section>"
    )


# ---- pictures --------------------------------------------------------------------------------------------------------


class _Embedder:
    """Pictures as data URIs: PNG as they are, or lossy where there are too many of them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        sizes = (path.stat().st_size for s in samples for path in s.images.values() if path.is_file())
        self.lossy = sum(sizes) > MAX_LOSSLESS_BYTES

    def picture(self, path: Path) -> tuple[str, int, int]:
        """The URI, width and height of a PNG file. Raises InputError."""
        try:
            data = path.read_bytes()
            if data[:8] != b"\x89PNG\r\n\x1a\n":
                raise ValueError("not a PNG file")
            width, height = struct.unpack(">II", data[16:24])
        except (OSError, ValueError, struct.error) as error:
            raise InputError(f"picture {path} cannot be read ({error}): run hdrvid eval again") from error
        if self.lossy:
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if decoded is None:
                raise InputError(f"picture {path} is damaged: run hdrvid eval again")
            data = cv2.imencode(".webp", decoded, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])[1].tobytes()
        return _uri(data, "webp" if self.lossy else "png"), width, height


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _sample(key: str, sample: Sample, names: Sequence[str], embed: _Embedder) -> str:
    """One frame: its pictures, one of which can be enlarged, and its scores."""
    shown = [(title, *embed.picture(path)) for title, path in sample.images.items()]
    width = max((w for _, _, w, _ in shown), default=1)
    height = max((h for _, _, _, h in shown), default=1)
    lead = next((n for n in names if any(s.get(n) is not None for s in sample.scores.values())), None)
    figures = []
    for i, (title, uri, w, h) in enumerate(shown):
        scores = sample.scores.get(title.removeprefix("error of "))
        score = _with_unit(scores.get(lead), lead) if scores is not None and lead is not None else ""
        caption = f"<b>{_text(title)}</b> {_text(score)}"
        figures.append(
            f'<input type="radio" class="pick" name="{key}" id="{key}-{i}" aria-label="{_text(title)}">'
            f'<label for="{key}-{i}"><span class="box">'
            f'<img src="{uri}" width="{w}" height="{h}" decoding="async" alt="{_text(title)}"></span>'
            f'<span class="caption">{caption}</span><span class="shown" aria-hidden="true">{caption}</span></label>'
        )
    rows = [_Row(f'<th scope="row">{_text(m)}</th>', scores) for m, scores in sample.scores.items()]
    own = [n for n in names if any(n in s for s in sample.scores.values())]
    table = _table(f'<th scope="col">model</th>{_column_heads(own)}', [_figure_cells(rows, own)]) if own else ""
    note = f" · {_text(sample.note)}" if sample.note else ""
    return (
        f'<div class="sample"><h4><i class="dot {_text(sample.exposure)}"></i>Frame {sample.index} · '
        f"{_text(sample.exposure)} · {_text(sample.why)}<small>{note}</small></h4>"
        f'<form method="dialog" class="strip" style="--w:{width};--h:{height}">{"".join(figures)}'
        f'<button type="reset" class="close">← → others · close ×</button></form>{table}</div>'
    )


def _scene_section(
    number: int,
    scene: str,
    models: Sequence[_Model],
    names: Sequence[str],
    samples: Sequence[Sample],
    embed: _Embedder,
    folded: bool,
) -> str:
    lead = next((n for n in names if any(_values(_frames(m, scene), n) for m in models)), None)
    summary = f"<h3>{_text(scene)}</h3>"
    body = '<p class="note">No values of single frames.</p>'
    if lead is not None:
        means = [(m.name, m.table.get("scenes", {}).get(scene, {}).get("overall", {}).get(lead)) for m in models]
        figures = " · ".join(f"{_text(n)} {_number(v, _digits(lead))}" for n, v in means)
        summary += f"<small>{_text(_measure(lead).title)}: {figures} {_text(_measure(lead).unit)}</small>"
        body = _plot(f"plot-{number}", scene, models, lead)
    body += "".join(_sample(f"s{number}-{i}", s, names, embed) for i, s in enumerate(samples))
    opened = "" if folded else " open"
    return f'<details class="scene"{opened}><summary>{summary}</summary><div id="scene-{number}">{body}</div></details>'


def _key(samples: Sequence[Sample], lossy: bool) -> str:
    """What the pictures and their colours mean, of those kinds that there are."""
    titles = {title for s in samples for title in s.images}
    if not titles:
        return ""
    entries = [
        (
            "",
            "input",
            "The frame as the camera coded it. Results and truth: one log curve for all of them. "
            "A picture is enlarged by a click, without smoothing; ← → then switch in place.",
        )
    ]
    if lossy:
        entries.append(("", "quality", f"Pictures are compressed with loss (WebP, quality {WEBP_QUALITY})."))
    if any(t.startswith("error") for t in titles):
        strip = _uri(pictures.png_bytes(pictures.error_legend()), "png")
        ticks = "".join(
            f'<span style="left:{100 * math.sqrt(e / pictures.ERROR_MAX):.1f}%">{e:g}</span>'
            for e in (0.0, 0.003, 0.01, 0.03, pictures.ERROR_MAX)
        )
        entries.append(
            (
                f'<span class="scale"><img src="{strip}" width="256" height="12" alt="black to yellow">{ticks}</span>',
                "error",
                "|T(result) − T(truth)|, T the mu-law with mu = 5000, mean of the channels; "
                f"{pictures.ERROR_MAX:g} and more are the brightest.",
            )
        )
    if any(t.startswith("flow") for t in titles):
        wheel = _uri(pictures.png_bytes(pictures.flow_legend()), "png")
        half = math.sqrt(1 + pictures.FLOW_MAX_PX) - 1
        entries.append(
            (
                f'<img class="wheel" src="{wheel}" width="96" height="96" alt="colour wheel">',
                "flow",
                "Where a pixel is found in the neighbour: hue is the direction as on the wheel, white is 0, the rim "
                f"{pictures.FLOW_MAX_PX:g} px and more, half-way {half:.1f} px.",
            )
        )
    if "blend weights" in titles:
        swatches = "".join(
            f'<span><i style="background:rgb{colour}"></i>{name}</span>'
            for colour, name in (
                ((0, 0, 0), "this frame"),
                (pictures.EARLIER_COLOUR, "earlier frames"),
                (pictures.LATER_COLOUR, "later frames"),
                ((128, 128, 128), "earlier and later alike"),
            )
        )
        entries.append((f'<span class="swatches">{swatches}</span>', "blend weights", "Where a pixel is taken from."))
    items = "".join(
        f"<div><dt>{name}</dt><dd>{figure}<span>{_text(text)}</span></dd></div>" for figure, name, text in entries
    )
    return f'<section><h2>Key to the pictures</h2><dl class="key">{items}</dl></section>'


# ---- plots -----------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 760, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 16, 46
_DASHES = ("", "6 4", "2 3", "9 3 2 3")
_SHAPES = ("circle", "square", "triangle", "diamond")


def nice_ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from low to high, about `count` of them; `whole`: integers."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= 0.75 * raw)
    if whole:
        step = max(1.0, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _value_range(values: Sequence[float]) -> tuple[float, float]:
    """A range of the y axis with room around the finite values."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def _marker(shape: str, x: float, y: float, size: float = 3.6) -> str:
    """SVG of a marker, left open: `<path d=... ` without its end."""
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}"'
    outline = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "triangle": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
        "diamond": ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
        "down": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    }[shape]
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in outline)
    return f'<polygon points="{points}"'


def _plot(key: str, scene: str, models: Sequence[_Model], name: str) -> str:
    """The measure `name` over the frames of a scene: dots coloured by exposure, a line per model and exposure.

    Frames of different exposure are not joined: their levels differ, and a line between them would be all one sees.
    """
    measure, digits = _measure(name), _digits(name)
    rows = [_frames(m, scene) for m in models]
    indices = [f["index"] for frames in rows for f in frames]
    values = [v for frames in rows for v in _values(frames, name)]
    first, last = min(indices), max(indices)
    low, high = _value_range(values)

    def at_x(index: float) -> float:
        span = _WIDTH - _LEFT - _RIGHT
        return _LEFT + (span * (0.02 + 0.96 * (index - first) / (last - first)) if last > first else span / 2)

    def at_y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    ticks = nice_ticks(low, high, 5)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else max(abs(high), 1e-9)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    grid = "".join(
        f'<path class="grid" d="M{_LEFT} {at_y(t):.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text class="y" x="{_LEFT - 7}" y="{at_y(t):.1f}" dy=".35em">{t:.{places}f}</text>'
        for t in ticks
    )
    axis = "".join(
        f'<path class="axis" d="M{at_x(t):.1f} {_HEIGHT - _BOTTOM}v4"/>'
        f'<text class="x" x="{at_x(t):.1f}" y="{_HEIGHT - _BOTTOM + 8}" dy=".8em">{t:.0f}</text>'
        for t in nice_ticks(first, last, 10, whole=True)
    )
    drawn = []
    with_dots = max(len(frames) for frames in rows) <= MAX_DOTS
    # the model is drawn last, over its baselines
    for number in reversed(range(len(models))):
        for exposure in CLASSES:
            frames = sorted((f for f in rows[number] if f["exposure"] == exposure), key=lambda f: f["index"])
            points = [(int(f["index"]), f.get(name)) for f in frames]
            kind = f"{exposure} {'baseline' if models[number].is_baseline else 'model'}"
            lines = _line(points, at_x, at_y)
            dash = _DASHES[number % len(_DASHES)]
            if lines:
                dashes = f' stroke-dasharray="{dash}"' if dash else ""
                thin = "" if with_dots else " thin"
                drawn.append(f'<path class="line {kind}{thin}" d="{lines}"{dashes}/>')
            for index, value in points:
                if value is None or math.isnan(value) or (math.isfinite(value) and not with_dots):
                    continue
                shape = _SHAPES[number % len(_SHAPES)]
                if math.isinf(value):
                    shape = "triangle" if value > 0 else "down"
                label = f"{models[number].name}, frame {index}, {exposure}: {_with_unit(value, name)}"
                marker = _marker(shape, at_x(index), at_y(value))
                drawn.append(f'{marker} class="mark {kind}"><title>{_text(label)}</title>{_end(marker)}')
    unit = f", {measure.unit}" if measure.unit else ""
    ranges = []
    for m, frames in zip(models, rows, strict=True):
        own = _values(frames, name)
        if own:
            ranges.append(f"{m.name} from {_number(min(own), digits)} to {_number(max(own), digits)}")
    describe = f"Frames {first} to {last}; {'; '.join(ranges)}{' ' + measure.unit if measure.unit else ''}."
    svg = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{_text(f"{measure.title} of every frame of {scene}")}</title>'
        f'<desc id="{key}-d">{_text(describe)}</desc>{grid}'
        f'<path class="axis" d="M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>{axis}'
        f'<text class="name" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}">frame</text>{"".join(drawn)}</svg>'
    )
    present = [c for c in CLASSES if any(f["exposure"] == c for frames in rows for f in frames)]
    legend = "".join(f'<li><i class="dot {c}"></i>{c}</li>' for c in present)
    legend += "".join(_legend_line(i, m) for i, m in enumerate(models))
    head = f"{_text(measure.title + unit)} {_arrow(name)}"
    return f'<figure class="plot"><figcaption><b>{head}</b><ul>{legend}</ul></figcaption>{svg}</figure>'


def _end(marker: str) -> str:
    return "</circle>" if marker.startswith("<circle") else "</polygon>"


def _legend_line(number: int, model: _Model) -> str:
    kind = "baseline" if model.is_baseline else "model"
    dash = _DASHES[number % len(_DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<li><svg width="34" height="12" aria-hidden="true"><path class="line any {kind}" d="M1 6H33"{dashes}/>'
        f'{_marker(_SHAPES[number % len(_SHAPES)], 17, 6)} class="mark any {kind}"/></svg>{_text(model.name)}</li>'
    )


def _line(
    points: Sequence[tuple[int, float | None]], at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> str:
    """Path through the finite points (frame, value); open where a frame or a value is missing."""
    step = min((b[0] - a[0] for a, b in itertools.pairwise(points)), default=0)
    path, before = [], None
    for index, value in points:
        if value is None or not math.isfinite(value):
            before = None
            continue
        joined = before is not None and index - before <= step
        # a stroke of no length with round ends shows a point that stands alone
        path.append(f"{'L' if joined else 'M'}{at_x(index):.1f} {at_y(value):.1f}" + ("" if joined else "h0"))
        before = index
    return "".join(path)


# ---- page ------------------------------------------------------------------------------------------------------------

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="@POLICY@">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>@TITLE@</title>
<style>
@STYLE@</style>
</head>
<body>
<main>
@BODY@
</main>
</body>
</html>
"""

_STYLE = """\
:root {
  --back: #fff; --panel: #f5f6f7; --ink: #16191d; --dim: #5f6770; --rule: #d9dde1; --link: #0b57a4; --mark: #e3f0d9;
  --alarm: #b3261e; --short: #1f6fc4; --middle: #128a63; --long: #d9600a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #131517; --panel: #1d2023; --ink: #e4e6e8; --dim: #9aa2aa; --rule: #363b40; --link: #7db7f2;
    --mark: #2c4023; --alarm: #ff8a80; --short: #5aa9f5; --middle: #35c192; --long: #ff9242;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1360px; margin: 0 auto; padding: 20px 24px 60px; }
h1 { font-size: 24px; margin: 0 0 8px; overflow-wrap: anywhere; }
h1 small { font-weight: 400; color: var(--dim); }
h2 { font-size: 17px; margin: 30px 0 8px; }
h3 { font-size: 17px; margin: 0; display: inline; overflow-wrap: anywhere; }
h4 { font-size: 15px; margin: 26px 0 8px; }
h4 small { font-weight: 400; color: var(--dim); }
a { color: var(--link); }
.quote {
  margin: 0; padding: 8px 12px; background: var(--panel); border-left: 3px solid var(--rule); font-size: 13px;
  overflow-wrap: anywhere; user-select: all; max-width: 1100px;
}
.note { color: var(--dim); font-size: 13px; margin: 6px 0; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.failures { border: 1px solid var(--alarm); border-radius: 4px; padding: 2px 14px 6px; margin-top: 20px; }
.failures h2 { color: var(--alarm); margin-top: 10px; }
.failures ul { margin: 4px 0; padding-left: 20px; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; max-width: 100%; position: relative; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; text-align: left; vertical-align: baseline; font-weight: 400; }
td + td, th + td, th + th, .scores th[scope=row] { padding-left: 6px; }
thead th { color: var(--dim); font-size: 13px; vertical-align: bottom; border-bottom: 1px solid var(--ink); }
thead th small, th[scope=rowgroup] small { display: block; font-size: 12px; color: var(--dim); }
th[scope=rowgroup] { font-weight: 600; vertical-align: top; overflow-wrap: anywhere; }
th[scope=rowgroup] { min-width: 116px; max-width: 260px; }
th[scope=row] { min-width: 92px; max-width: 260px; overflow-wrap: anywhere; }
tbody { border-bottom: 1px solid var(--rule); }
.n { text-align: right; white-space: nowrap; }
.n b { background: var(--mark); border-radius: 3px; padding: 1px 4px; margin-right: -4px; }
.sd { color: var(--dim); font-size: 12px; display: inline-block; min-width: 46px; text-align: left; padding-left: 6px; }
.models td { vertical-align: top; }
.models dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 12px; margin: 6px 0; font-size: 13px; }
.models dt { color: var(--dim); }
.models dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 6px; background: var(--c); }
.short { --c: var(--short); }
.middle { --c: var(--middle); }
.long { --c: var(--long); }
.any { --c: var(--dim); }
.key { margin: 0; display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 14px 28px; }
.key dt { font-weight: 600; }
.key dd { margin: 0; font-size: 13px; color: var(--dim); }
.key dd > span:last-child { display: block; }
.scale { display: block; position: relative; width: 256px; max-width: 100%; height: 32px; margin-top: 5px; }
.scale img { display: block; width: 100%; height: 12px; }
.scale span { position: absolute; top: 14px; transform: translateX(-50%); font-size: 12px; }
.scale span:first-of-type { transform: none; }
.scale span:last-of-type { transform: translateX(-100%); }
.wheel { float: left; margin: 4px 12px 0 0; border-radius: 50%; }
.swatches span { display: block; }
.swatches i { display: inline-block; width: 22px; height: 11px; margin-right: 7px; border: 1px solid var(--rule); }
.scene { border-top: 1px solid var(--rule); margin-top: 26px; padding-top: 12px; }
.scene > summary small { color: var(--dim); margin-left: 12px; font-size: 13px; }
.scene > div { scroll-margin-top: 60px; }
.plot { margin: 12px 0 0; max-width: 900px; }
.plot > svg { display: block; width: 100%; height: auto; overflow: visible; }
.plot figcaption { display: flex; flex-wrap: wrap; gap: 2px 24px; font-size: 13px; }
.plot ul { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; margin: 0; padding: 0; color: var(--dim); }
.plot li svg { vertical-align: -1px; margin-right: 5px; }
svg text { fill: var(--dim); font-size: 12px; }
svg .y, svg .name { text-anchor: end; }
svg .x { text-anchor: middle; }
.grid, .axis { stroke: var(--rule); fill: none; }
.axis { stroke: var(--dim); }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.baseline { stroke-width: 1.2; opacity: .75; }
.line.thin { stroke-width: 1.1; }
.mark { fill: var(--c); stroke: var(--c); }
.mark.baseline { fill: var(--back); stroke-width: 1.3; }
.sample { container-type: inline-size; }
.strip {
  --vw: min(100cqw, calc(var(--w) * 3px), calc(78vh * var(--w) / var(--h)));
  --vh: calc(var(--vw) * var(--h) / var(--w));
  position: relative; display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 10px;
}
.strip input { position: absolute; top: 0; left: 0; opacity: 0; pointer-events: none; margin: 0; }
.strip label { cursor: zoom-in; }
.box { display: block; aspect-ratio: var(--w) / var(--h); background: var(--panel); }
.box img { display: block; width: 100%; height: 100%; object-fit: contain; object-position: left top; }
.caption, .shown { font-size: 13px; color: var(--dim); overflow-wrap: anywhere; }
.caption b, .shown b { font-weight: 500; color: var(--ink); }
.close, .shown { display: none; position: absolute; top: calc(var(--vh) + 4px); line-height: 22px; }
.close { right: 0; border: 0; padding: 0; background: none; color: var(--link); cursor: pointer; font-size: 13px; }
.strip:has(.pick:checked) { padding-top: calc(var(--vh) + 38px); }
.strip:has(.pick:checked) .close { display: block; }
.strip:has(.pick:focus-visible) .box img { outline: 2px solid var(--link); }
.pick:checked + label img {
  position: absolute; top: 0; left: 0; width: var(--vw); height: var(--vh); image-rendering: pixelated; cursor: default;
}
.pick:checked + label .shown { display: block; left: 0; }
.pick:checked + label .caption b { color: var(--link); }
@media (max-width: 640px) {
  main { padding: 14px 14px 40px; }
  svg text { font-size: 19px; }
  .strip { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
  .scene > summary small { display: block; margin-left: 0; }
}
@media print {
  :root { --back: #fff; --panel: #f5f6f7; --ink: #000; --dim: #444; --rule: #bbb; --link: #000; --mark: #e3f0d9;
    --short: #1f6fc4; --middle: #128a63; --long: #d9600a; }
  body { font-size: 10pt; }
  main { padding: 0; }
  table { font-size: 7.5pt; }
  th, td { padding-right: 4px; }
  .sd { font-size: 6.5pt; min-width: 0; }
  .scroll { overflow: visible; }
  tbody, .plot, .sample label, .key div { break-inside: avoid; }
  h2, h3, h4, summary { break-after: avoid; }
  .strip, .strip:has(.pick:checked) { grid-template-columns: repeat(4, 1fr); padding-top: 0; }
  .pick:checked + label img { position: static; width: 100%; height: 100%; }
  .strip .shown, .strip .close { display: none !important; }
  .scene::details-content { content-visibility: visible; display: block; height: auto; }
}
"""
