"""Tables for papers: Markdown and LaTeX (booktabs). Best bold, second underlined, the protocol line as a comment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hdrvid.evaluate.measures import MEASURES, Measure
from hdrvid.evaluate.results import CLASSES, models_of

_DIGITS_OF_UNIT = {"dB": 2, "%": 2, "JOD": 3}
_DIGITS_OF_MEASURE = {"hdr_vdp_2": 2}
_DIGITS = 4
"""Digits behind the point of a measure that neither of the two above names."""

MARKDOWN_MARK = "<!-- hdrvid eval"
"""Beginning of table.md."""
LATEX_MARK = "% hdrvid eval"
"""Beginning of table.tex."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def measure_of(name: str) -> Measure:
    """The measure of a name; one that is not known has its name as title and no unit."""
    return MEASURES.get(name) or Measure(name, name)


def measure_digits(name: str) -> int:
    """Digits behind the point."""
    return _DIGITS_OF_MEASURE.get(name, _DIGITS_OF_UNIT.get(measure_of(name).unit, _DIGITS))


def ranks(values: Sequence[float | None], name: str) -> list[int | None]:
    """Place of every value as it is printed, 1 for the best; equal ones share it, and None has none.

    None everywhere where all are equal or the measure is not known.

    >>> ranks([30.0, 31.001, None, 31.004, 29.0], "psnr_t")
    [2, 1, None, 1, 3]
    """
    printed = [None if v is None or math.isnan(v) else round(v, measure_digits(name)) for v in values]
    different = sorted({v for v in printed if v is not None}, reverse=measure_of(name).larger_is_better)
    if name not in MEASURES or len(different) < 2:
        return [None] * len(values)
    return [None if v is None else different.index(v) + 1 for v in printed]


@dataclass(frozen=True)
class _Row:
    model: str
    values: tuple[float | None, ...]
    """A score for every measure."""
    milliseconds: float | None
    """Time of a frame; None where it was not measured."""


@dataclass(frozen=True)
class _Group:
    """Rows that are compared with each other."""

    name: str
    """'all frames', or those of an exposure."""
    rows: tuple[_Row, ...]


def _groups(results: Mapping[str, Any], names: Sequence[str]) -> list[_Group]:
    """All frames, and those of every exposure."""
    models = models_of(results)
    exposures = [c for c in CLASSES if any(c in m["by_exposure"] for m in models.values())]

    def rows(exposure: str | None) -> tuple[_Row, ...]:
        made = []
        for model, result in models.items():
            scores = result["overall"] if exposure is None else result["by_exposure"].get(exposure, {})
            seconds = result.get("seconds")
            milliseconds = None if seconds is None else 1000 * seconds
            made.append(_Row(model, tuple(scores.get(name) for name in names), milliseconds))
        return tuple(made)

    groups = [_Group("all frames", rows(None))]
    # a single class would repeat the rows above
    return groups + ([_Group(f"{c} frames", rows(c)) for c in exposures] if len(exposures) > 1 else [])


def _number(value: float | None, digits: int, nothing: str) -> str:
    return nothing if value is None else f"{value:.{digits}f}"


def time_text(milliseconds: float | None, nothing: str) -> str:
    """A time in milliseconds, with as many digits as it deserves; `nothing` for None.

    >>> time_text(310.2, "-"), time_text(0.31, "-"), time_text(None, "-")
    ('310', '0.3', '-')
    """
    return nothing if milliseconds is None else f"{milliseconds:.{0 if milliseconds >= 10 else 1}f}"


def _comment(results: Mapping[str, Any]) -> list[str]:
    """What decides the figures, in lines."""
    machine = results.get("machine") or {}
    device = machine.get("gpu") or machine.get("cpu")
    threads = int(machine.get("threads") or 0)
    times = f"; times on {device}, {threads} thread{'s' * (threads != 1)}" if device else ""
    failures = results.get("failures") or []
    lines = [
        str(results["protocol"]),
        "means over frames, of measures of whole clips over clips; best bold, second underlined" + times,
    ]
    if results.get("date"):
        lines.append(f"made {results['date']}")
    if failures:
        lines.append(f"INCOMPLETE: {len(failures)} failure(s), left out of all means, see results.json")
    return [" ".join(line.split()) for line in lines]


def markdown_table(results: Mapping[str, Any]) -> str:
    """`table.md`: rows of models, for all frames and for those of every exposure."""
    names = list(results["overall"])
    heads = ["model", *(_head(n, "↑", "↓") for n in names), "ms/frame"]
    comment = "\n".join(line.replace("--", "- -") for line in _comment(results))
    lines = [f"{MARKDOWN_MARK}: {comment} -->"]
    for group in _groups(results, names):
        lines += ["", f"**{group.name}**", "", "| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
        places = [ranks([r.values[i] for r in group.rows], n) for i, n in enumerate(names)]
        for k, row in enumerate(group.rows):
            cells = [
                _marked(_number(v, measure_digits(n), "–"), places[i][k], "**{}**", "<ins>{}</ins>")
                for i, (n, v) in enumerate(zip(names, row.values, strict=True))
            ]
            lines.append("| " + " | ".join([_markdown(row.model), *cells, time_text(row.milliseconds, "–")]) + " |")
    return "\n".join(lines) + "\n"


def latex_table(results: Mapping[str, Any]) -> str:
    """`table.tex`: the same for `\\input`; needs the package booktabs."""
    names = list(results["overall"])
    heads = ["Method", *(_latex_head(n) for n in names), r"ms/frame"]
    lines = [f"% {line}" for line in _comment(results)]
    lines[0] = f"{LATEX_MARK}: {lines[0][2:]}"
    lines.append(r"% needs \usepackage{booktabs}")
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule", " & ".join(heads) + r" \\"]
    groups = _groups(results, names)
    for group in groups:
        lines.append(r"\midrule")
        if len(groups) > 1:
            lines.append(rf"\multicolumn{{{len(heads)}}}{{l}}{{\textit{{{group.name}}}}} \\")
        places = [ranks([r.values[i] for r in group.rows], n) for i, n in enumerate(names)]
        for k, row in enumerate(group.rows):
            cells = [
                _marked(_number(v, measure_digits(n), "--"), places[i][k], r"\textbf{{{}}}", r"\underline{{{}}}")
                for i, (n, v) in enumerate(zip(names, row.values, strict=True))
            ]
            lines.append(" & ".join([latex_text(row.model), *cells, time_text(row.milliseconds, "--")]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _head(name: str, up: str, down: str) -> str:
    measure = measure_of(name)
    unit = f", {measure.unit}" if measure.unit else ""
    arrow = "" if name not in MEASURES else f" {up if measure.larger_is_better else down}"
    return f"{measure.title}{unit}{arrow}"


def _latex_head(name: str) -> str:
    return latex_text(_head(name, "UP", "DOWN")).replace("UP", r"$\uparrow$").replace("DOWN", r"$\downarrow$")


def _marked(text: str, place: int | None, best: str, second: str) -> str:
    return best.format(text) if place == 1 else second.format(text) if place == 2 else text


def latex_text(text: str) -> str:
    """A text with the signs that LaTeX takes for its own escaped."""
    return "".join(_LATEX.get(c, c) for c in text)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)
