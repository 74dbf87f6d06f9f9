"""The hyper-parameters that every method trained by gradient has."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch

from modicum.errors import SettingError, nearest
from modicum.nn.softmax import cpu_multiplies_bfloat16

SIZES = ("length", "batch_size", "epochs", "dim", "hidden", "layers", "heads", "head_dim")
"""Fields that must be 1 or more, wherever a method has them."""

PLAIN: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    NoneType: "None",
}
"""Types of fields that are checked, in words."""


def check_types(settings: Any) -> None:
    """Refuse a field of plain values or of choices that holds another, by its annotation.

    Numbers of NumPy become Python's, and 100.0 becomes 100 where whole numbers are asked for. A field
    that may hold anything else is left to its method.

    Args:
        settings: a dataclass.

    Raises:
        SettingError: a value is of another type, or is none of the choices.

    >>> check_types(WindowFields(windows="al"))
    Traceback (most recent call last):
    modicum.errors.SettingError: windows='al' is not known; did you mean 'all'?
    """
    hints = _hints(type(settings))
    for name in (field.name for field in fields(settings) if field.name in hints):
        value, hint = getattr(settings, name), hints[name]
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
            value = int(value)
        if value is not getattr(settings, name):
            setattr(settings, name, value)
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                known = nearest(str(value), get_args(hint))
                raise SettingError(f"{name}={value!r} is not known; {known}")
        elif PLAIN.keys() >= set(kinds) and not any(_is(value, kind) for kind in kinds):
            asked = " or ".join(PLAIN[kind] for kind in kinds)
            raise SettingError(f"{name}={value!r} must be {asked}")


def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a class, or of its nearest base whose names can all be read.

    Those of a class that is made in a function may name what only that function knows.
    """
    for base in kind.__mro__:
        with suppress(NameError):
            return get_type_hints(base)
    return {}


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


@dataclass(kw_only=True)
class TrainingFields:
    """How a method is trained.

    Args:
        batch_size: training examples in a batch, over all processes.
        epochs: passes over the training examples at most.
        patience: stop after this many epochs that are no better on validation; 0 never stops.
        learning_rate: of AdamW, after a linear start over ``warmup_steps``.
        warmup_steps: steps of that start.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient; 0 leaves it alone.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``.
    """

    batch_size: int = 128
    epochs: int = 100
    patience: int = 5
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.0
    clip_norm: float = 5.0
    device: str = "auto"

    def check(self) -> None:
        """Raise SettingError where a field is of another type or out of range."""
        check_types(self)
        for name in SIZES:
            size = getattr(self, name, None)
            if size is not None and size < 1:
                raise SettingError(f"{name}={size} must be 1 or more")
        for name in ("patience", "warmup_steps", "weight_decay", "clip_norm"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name}={getattr(self, name)} must not be negative")
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate={self.learning_rate} must be above 0")
        try:
            torch.empty(0, device=self.torch_device)
        except (RuntimeError, AssertionError) as error:
            raise SettingError(f"device={self.device!r} is not to be had: {error}") from None

    @property
    def torch_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


@dataclass(kw_only=True)
class WindowFields(TrainingFields):
    """How a method is trained on windows of histories.

    Args:
        length: longest history that the model reads, in events.
        windows: train on ``"all"`` events of a user, or on the ``"latest"`` ``length`` only.
        head: precision of the softmax over the catalogue; ``"auto"`` takes bfloat16 where the
            processor multiplies it faster.
    """

    length: int = 50
    windows: Literal["all", "latest"] = "all"
    head: Literal["auto", "float32", "bfloat16"] = "auto"

    @property
    def bfloat16_head(self) -> bool:
        """Whether the softmax over the catalogue multiplies in bfloat16."""
        if self.head == "auto":
            return self.torch_device.type == "cuda" or cpu_multiplies_bfloat16()
        return self.head == "bfloat16"
