"""Options of a command from the fields of dataclasses, as `hdrvid.options.metadata` describes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import partial, wraps
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from hdrvid.bounds import require_number

METAVAR_COLUMNS = 17
"""Longer ones would be cut at any place in the help of a narrow terminal."""

CHOICE = "NAME"
"""What stands there instead; the choices follow the sentence."""


def fields_as_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose dataclass parameters are replaced by an option for each of their offered fields.

    A parameter annotated with a dataclass gets an instance. One annotated with `partial[DATACLASS]` gets a partial
    that holds the fields that the user gave: the command adds those that depend on them.
    """
    signature = inspect.signature(command, eval_str=True)
    classes = {p.name: _dataclass_of(p.annotation) for p in signature.parameters.values()}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        cls = classes[parameter.name]
        parameters += [parameter] if cls is None else _option_parameters(cls)

    @wraps(command)
    def run(**values: Any) -> None:
        for name, cls in classes.items():
            if cls is not None:
                make = partial(cls, **_given(cls, values))
                values[name] = make if get_origin(signature.parameters[name].annotation) is partial else make()
        command(**values)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__signature__ = signature.replace(parameters=keyword_only)  # type: ignore[attr-defined]
    return run


def offered_fields(cls: type) -> list[Field[Any]]:
    """The fields of a dataclass that are options of a command."""
    return [field for field in fields(cls) if "help" in field.metadata]


def _dataclass_of(annotation: Any) -> type | None:
    cls = get_args(annotation)[0] if get_origin(annotation) is partial else annotation
    return cls if isinstance(cls, type) and is_dataclass(cls) else None


def _option_parameters(cls: type) -> Iterable[inspect.Parameter]:
    types = get_type_hints(cls)
    for field in offered_fields(cls):
        yield _option_parameter(field, types[field.name])


def _option_parameter(field: Field[Any], kind: Any) -> inspect.Parameter:
    """The typer parameter of a field of type `kind`. Its default is None where the field's own is not shown."""
    option = field.metadata
    default = None if option["repeated"] or option["default"] is not None or field.default is MISSING else field.default
    if option["repeated"]:
        kind = GenericAlias(list, (str,)) | None
    elif option["parse"]:
        kind = str | None
    elif default is None:
        kind = kind | None
    # the backslash: text in brackets is markup. typer's own show_default puts parentheses around a text
    default_text = rf" \[default: {option['default']}]" if option["default"] else ""
    choices = choices_of(option["metavar"])
    metavar, help_text = option["metavar"], option["help"]
    if choices and len(metavar) > METAVAR_COLUMNS:
        words = metavar.replace("[", r"\[").split("|")
        metavar, help_text = CHOICE, f"{help_text} One of {', '.join(words)}."
    info = typer.Option(
        _flag_of(field),
        help=help_text + default_text,
        metavar=metavar,
        autocompletion=_completion(choices) if choices else None,
        min=option["minimum"],
        max=option["maximum"],
        show_default=default is not None,
        rich_help_panel=option["panel"],
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def choices_of(metavar: str | None) -> list[str]:
    """The words of a metavar that a user may type as they are.

    >>> choices_of("auto|cpu|cuda[:i]|FILE|0,3"), choices_of(None)
    (['auto', 'cpu'], [])
    """
    return [word for word in (metavar or "").split("|") if re.fullmatch("[a-z][a-z0-9-]+", word)]


def _completion(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Shell completion of an option with choices."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def flowing(text: str) -> str:
    """A help text whose paragraphs are one line each: the terminal wraps them.

    >>> flowing("One\\ntwo.\\n\\n    as it is")
    'One two.\\n\\n    as it is'
    """
    parts = text.strip("\n").split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else " ".join(part.split()) for part in parts)


def _flag_of(field: Field[Any]) -> str:
    """The name of a field's option."""
    return str(field.metadata["flag"] or "--" + field.name.replace("_", "-"))


def _given(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of `cls` out of a command's values. A field without a value is left to the dataclass."""
    given = {}
    for field in offered_fields(cls):
        value = values.pop(field.name)
        parse = field.metadata["parse"] or (lambda text: text)
        if field.metadata["repeated"]:
            value = tuple(parse(text) for text in value or ())
        elif value is not None:
            value = parse(value)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                require_number(_flag_of(field), field.name, value)
        if value is not None and (value or not field.metadata["repeated"]):
            given[field.name] = value
    return given
