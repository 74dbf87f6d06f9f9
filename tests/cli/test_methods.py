from dataclasses import dataclass, field, fields
from inspect import Parameter
from pathlib import Path
from typing import Literal, get_args

import pytest

from modicum.cli.fit import fit_method
from modicum.cli.methods import documented, flags, typable
from modicum.methods.finding import RECOMMENDERS, find_methods


@dataclass(kw_only=True)
class Size:
    width: int = 8


@dataclass(kw_only=True)
class Base:
    """What both have.

    Args:
        epochs, patience: passes at most, and
            without gain.
        old: as the base says.
    """

    epochs: int = 3
    patience: int = 1
    old: int = 0

    def fit(self) -> None: ...


@dataclass(kw_only=True)
class Example(Base):
    """A method.

    Args:
        old: as the method says.
        teacher: a fitted :class:`~here.Base`, or its folder.

    >>> 1
    1
    """

    teacher: Base | str | None = None
    backbone: str | Size = field(default_factory=Size)
    loss: Literal["a", "b"] = "a"
    callback: Base | None = None
    inner: dict = field(default_factory=dict)
    derived: int = field(default=0, metadata={"derived": True})


def test_fields_become_keyword_parameters_with_default_and_text():
    found = {parameter.name: parameter for parameter in flags(Example)}
    assert list(found) == ["epochs", "patience", "old", "teacher", "backbone", "loss"]
    assert all(parameter.kind is Parameter.KEYWORD_ONLY for parameter in found.values())
    assert found["backbone"].default == Size()
    hint, text = get_args(found["teacher"].annotation)
    assert hint == str | None
    assert text.help == "a fitted here.Base, or its folder."
    assert get_args(found["backbone"].annotation)[0] == str | Size


def test_the_text_of_a_field_is_the_nearest_class_s():
    texts = documented(Example)
    assert texts["epochs"] == texts["patience"] == "passes at most, and without gain."
    assert texts["old"] == "as the method says."


@pytest.mark.parametrize("hint", [dict, Base, Base | None, type(None) | dict])
def test_what_cannot_be_typed_is_no_flag(hint):
    assert typable(hint) is None


@pytest.mark.parametrize("hint", [int, bool, str | Path | None, tuple[int, ...], Size])
def test_what_can_be_typed_stays_as_it_is(hint):
    assert typable(hint) == hint


@pytest.mark.parametrize("word", find_methods(*RECOMMENDERS))
def test_every_field_of_every_method_is_documented_and_free_to_be_a_flag(word):
    method = find_methods(*RECOMMENDERS)[word].load()
    names = {field.name for field in fields(method)}
    assert names <= set(documented(method)), names - set(documented(method))
    assert names.isdisjoint(fit_method.__annotations__)
    assert names.isdisjoint({"user", "item", "time", "domain", "behaviour", "value"})
    assert find_methods(*RECOMMENDERS)[word].doc
