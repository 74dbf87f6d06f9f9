"""The fields of a method as flags."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter

PLAIN = (bool, int, float, str, Path, NoneType)
"""Types of which a value can be typed at a prompt."""


def flags(method: type) -> list[inspect.Parameter]:
    """Return the fields of a method as keyword parameters, with type, default and text.

    A field that is ``derived`` by its metadata is filled in by ``fit`` and is no flag.
    """
    hints, texts = get_type_hints(method), documented(method)
    found = []
    for field in fields(method):
        hint = typable(hints[field.name])
        if hint is None or field.metadata.get("derived"):
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        text = Parameter(help=texts.get(field.name), group=f"Settings of {method.__name__}")
        found.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is MISSING else default,
                annotation=Annotated[hint, text],
            )
        )
    return found


def with_settings_of(method: type, verb: Callable[..., Any], /, **bound: Any) -> Callable[..., Any]:
    """Return a verb that has the fields of a method as flags, in place of its ``**settings``.

    Args:
        method: class with the fields.
        verb: has ``**settings`` as its last parameter.
        bound: values of those of its parameters that are no flags.
    """
    hints = get_type_hints(verb, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(verb).parameters.items()
        if name not in bound and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    signature = inspect.Signature(own + flags(method))

    def call(*args: Any, **kwargs: Any) -> Any:
        return verb(**bound, **signature.bind(*args, **kwargs).arguments)

    call.__doc__ = verb.__doc__
    call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def typable(hint: Any) -> Any | None:
    """Return the part of a type that can be typed at a prompt, None if there is none.

    >>> typable(int | None), typable(dict), typable(dict | Literal["first", "last"])
    (int | None, None, typing.Literal['first', 'last'])
    """
    if get_origin(hint) in (Union, UnionType):
        parts = [part for part in map(typable, get_args(hint)) if part is not None]
        return None if parts in ([], [NoneType]) else reduce(or_, parts)
    if hint in PLAIN or get_origin(hint) in (Literal, tuple, list):
        return hint
    is_configuration = is_dataclass(hint) and not hasattr(hint, "fit")
    return hint if is_configuration else None


def documented(method: type) -> dict[str, str]:
    """Return field -> its text under ``Args`` in the class, or in the one it comes from.

    >>> from modicum.cli.events import Roles
    >>> documented(Roles)["user"]
    'who acted.'
    """
    texts: dict[str, str] = {}
    for cls in reversed(method.__mro__):
        doc = inspect.cleandoc(cls.__doc__ or "")
        for section in re.findall(r"^Args:\n((?: +.*\n?|\n)+)", doc, flags=re.MULTILINE):
            entries = re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
            for names, text in entries:
                plain = re.sub(r":\w+:`~?([^`]+)`", r"\1", " ".join(text.split()))
                texts |= dict.fromkeys(names.split(", "), plain)
    return texts
