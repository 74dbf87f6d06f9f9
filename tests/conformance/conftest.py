"""Every recommender of the package, found by itself, small, and fitted on a simulated log."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import modicum
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_markov
from modicum.data.split import Split, split
from modicum.methods.finding import RECOMMENDERS
from modicum.methods.network import CountedNetwork
from modicum.methods.recommender import Recommender
from modicum.methods.sequential.llmrec import LLMRec
from modicum.nn.decoder import Decoder

NUM_ITEMS = 30


def find_recommenders() -> list[type[Recommender]]:
    """Return every concrete recommender that is defined in a module of the families of them."""
    families = [import_module(f"modicum.methods.{family}") for family in RECOMMENDERS]
    modules = [
        import_module(f"{family.__name__}.{found.name}")
        for family in families
        for found in pkgutil.iter_modules(family.__path__)
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Recommender)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]


METHODS = find_recommenders()

TINY: dict[str, Any] = {
    "length": 8,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 1e-2,
    "warmup_steps": 1,
    "head": "float32",
    "device": "cpu",
    "dim": 8,
    "hidden": 8,
    "heads": 2,
    "layers": 2,
    "blocks": 2,
    "backbone": Decoder(layers=3, width=8, heads=2),
    "encoder": {"method": "sasrec", "dim": 8, "layers": 1, "heads": 2},
}
"""A small value for each field name that decides how long a training takes."""


class Workshop:
    """Makes small recommenders of any class."""

    def __init__(self, parts: Split) -> None:
        self.parts = parts
        self.teacher = LLMRec(**self._fields(LLMRec)).fit(parts.train, progress=False)

    def make(self, method: type[Recommender], **settings: Any) -> Recommender:
        """Return an unfitted recommender; settings that its class has not are left out."""
        names = {field.name for field in dataclasses.fields(method)}
        own = {name: value for name, value in settings.items() if name in names}
        return method(**self._fields(method) | own)

    def _fields(self, method: type[Recommender]) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(method)}
        tiny = {name: value for name, value in TINY.items() if name in names}
        return tiny | ({"teacher": self.teacher} if "teacher" in names else {})


def markov_log(**settings: Any) -> EventLog:
    shape = {"num_users": 60, "num_items": NUM_ITEMS, "events_per_user": 15.0, "span_days": 60.0}
    return simulate_markov(**shape | {"seed": 0} | settings).log


def with_items(log: EventLog, items: pl.Expr) -> EventLog:
    """Return the log with other item ids."""
    return EventLog(log.scan.with_columns(item=items), source=log.source)


@pytest.fixture(scope="session")
def log() -> EventLog:
    return with_items(markov_log(), pl.format("i{}", "item"))


@pytest.fixture(scope="session")
def parts(log: EventLog) -> Split:
    return split(log)


@pytest.fixture(scope="session")
def workshop(parts: Split) -> Workshop:
    return Workshop(parts)


@pytest.fixture(scope="session", params=METHODS, ids=lambda method: method.__name__.lower())
def method(request: pytest.FixtureRequest) -> type[Recommender]:
    return request.param


@pytest.fixture(scope="session")
def model(method: type[Recommender], workshop: Workshop) -> Recommender:
    return workshop.make(method).fit(workshop.parts.train, progress=False)


@pytest.fixture(scope="session")
def reloaded(model: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    folder: Path = model.save(tmp_path_factory.mktemp(model.name))
    return modicum.load(folder)


def learns(model: Recommender) -> bool:
    return not isinstance(model.fitted_network, CountedNetwork)
