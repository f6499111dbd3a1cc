"""Rendering of the HTML pages: one Jinja2 environment, one base template, one stylesheet.

A page is a single file that loads nothing: pictures are data URIs, style and script are inline, and its
Content-Security-Policy forbids everything else. Templates escape every value.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from hdrvid.types import run_texts


def render(template: str, **values: object) -> str:
    """The page of a template in `templates/`, with `values` as its variables.

    Raises jinja2.UndefinedError for a variable that the template uses and `values` lacks.
    """
    return page_environment().get_template(template).render(**values)


def data_uri(data: bytes, kind: str) -> str:
    """The bytes of a picture as a URI; `kind` is the subtype of its media type, such as 'png'."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


# ---- filters ---------------------------------------------------------------------------------------------------------


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "frame"), counted(2, "frame")
    ('1 frame', '2 frames')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")


def number(value: float | None, digits: int) -> str:
    """A number with `digits` behind the point; 'inf' and 'nan' as they are, a dash for None.

    >>> number(3.14159, 2), number(None, 2), number(math.inf, 2)
    ('3.14', '–', 'inf')
    """
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if math.isfinite(value) else str(float(value))


def signed(value: float, digits: int, plus: str = "") -> str:
    """A number with a typographic minus sign; `plus` precedes one that is not negative.

    >>> signed(-0.25, 2), signed(-0.001, 2), signed(0.25, 2, "+")
    ('−0.25', '0.00', '+0.25')
    """
    text = f"{abs(value):.{digits}f}"
    return ("−" if value < 0 and float(text) else plus) + text


def frame_ranges(indices: Sequence[int], most: int = 12) -> str:
    """Frames in words, at most `most` runs of them.

    >>> frame_ranges([3, 5, 6, 7]), frame_ranges([1, 3, 5], most=2)
    ('frames 3, 5-7', 'frames 1, 3 and 1 more')
    """
    runs = run_texts(indices)
    named = ", ".join(text for text, _ in runs[:most])
    rest = sum(count for _, count in runs[most:])
    return f"frame{'' if len(indices) == 1 else 's'} {named}" + (f" and {rest} more" if rest else "")


def _sha256(text: str) -> str:
    """Hash of an inline script, as a Content-Security-Policy wants it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def page_environment() -> Environment:
    """The environment of all templates: autoescape, strict about undefined variables, the filters above."""
    environment = Environment(
        loader=PackageLoader("hdrvid.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"counted": counted, "number": number, "signed": signed, "sha256": _sha256}
    return environment
