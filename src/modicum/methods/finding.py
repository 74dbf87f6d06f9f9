"""Methods found as files: one that holds a class of its own name is a method.

The files are looked at, not imported, until one of them is called.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

RECOMMENDERS = ("sequential", "crossdomain")
"""Families of methods that learn from an event log and rank a catalogue."""

CONVERSION = ("conversion",)
"""Families of methods that learn the steps of a funnel from a table of impressions."""


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


@cache
def find_methods(*families: str) -> Mapping[str, Method]:
    """Return word -> method, for every method of the families.

    >>> find_methods(*RECOMMENDERS)["sasrec"].module
    'modicum.methods.sequential.sasrec'
    """
    found: dict[str, Method] = {}
    root = Path(__file__).parent
    for path in sorted(path for family in families for path in root.glob(f"{family}/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == path.stem:
                module = f"modicum.methods.{path.parent.name}.{path.stem}"
                found[path.stem] = Method(module, node.name, ast.get_docstring(tree) or "")
    return MappingProxyType(found)
