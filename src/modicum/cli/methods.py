"""Methods found as files of ``modicum.methods``, and their fields as flags.

A file of a family that holds a class of its own name is a method; a new file of a family that
``modicum fit`` knows is a new word of it. The files are looked at, not imported, until one of them
is called.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter

import modicum.methods

RECOMMENDERS = ("sequential", "crossdomain")
"""Families of methods that learn from an event log and rank a catalogue."""

CONVERSION = ("conversion",)
"""Families of methods that learn the steps of a funnel from a table of impressions."""

PLAIN = (bool, int, float, str, Path, NoneType)
"""Types of which a value can be typed at a prompt."""


@dataclass(frozen=True)
class Method:
    """A method's file, before it is imported.

    Args:
        module: where it is.
        name: of its class.
        doc: docstring of the file.
    """

    module: str
    name: str
    doc: str

    def load(self) -> type:
        """Import the class."""
        found: type = getattr(import_module(self.module), self.name)
        return found


def find_methods(*families: str) -> dict[str, Method]:
    """Return word -> method, for every method of the families.

    >>> find_methods(*RECOMMENDERS)["sasrec"].module
    'modicum.methods.sequential.sasrec'
    """
    found = {}
    root = Path(modicum.methods.__file__).parent
    for path in sorted(path for family in families for path in root.glob(f"{family}/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == path.stem:
                module = f"modicum.methods.{path.parent.name}.{path.stem}"
                found[path.stem] = Method(module, node.name, ast.get_docstring(tree) or "")
    return found


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
