"""Recipes: what a published table is made of, as one TOML file, and the units of work in it."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sources import load_split, shared_data

import modicum as mo
from modicum.data.split import Split
from modicum.errors import SettingError, nearest
from modicum.evaluation.strata import ALL

HERE = Path(__file__).resolve().parent
RUNS = HERE.parent / "runs" / "experiments"

SECTIONS = ("title", "note", "data", "split", "evaluation", "training", "arms", "questions")
READER = ("file", "sample", "parts", "min_item_events", "user_share")
READER += ("user", "item", "time", "domain", "behaviour", "value")
ARM = ("method", "seeds", "teacher", "table", "texts", "settings", "split", "shuffled")
MODELS = ("teacher", "table")
"""Settings whose value is the model of another arm."""
QUESTION = ("subject", "against", "strata")

RECORD = 1
"""Shape of a record; older ones do not count."""
FORMS = {"MACD": 2, "IMVAE": 2}
"""Which form of a method is meant by the same settings; records of an older one do not count."""


@dataclass(frozen=True)
class Arm:
    """One row of the table: a method with its settings, fitted once for each seed.

    Args:
        name: what the table calls it.
        method: name of a class of ``modicum``.
        settings: its hyper-parameters.
        seeds: one fit for each.
        models: setting -> name of the arm whose model it is; seed ``s`` takes that arm's seed number
            ``s`` modulo how many it has.
        texts: file of item texts among the shared data.
        split: settings of the split that are this arm's own.
        shuffled: the events of every history are put in random order, in training and in inputs.
    """

    name: str
    method: str
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    models: Mapping[str, str] = field(default_factory=dict)
    texts: str | None = None
    split: Mapping[str, Any] = field(default_factory=dict)
    shuffled: bool = False


@dataclass(frozen=True)
class Question:
    """Whether an arm differs from others, over all queries and in some strata."""

    subject: str
    against: tuple[str, ...]
    strata: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """A table to be made: data, split, evaluation and arms.

    Args:
        path: of the TOML file; ``results`` beside it holds what is committed.
        runs: folder for checkpoints and models, which are not.
        scale: share of the users to take; below 1 it is a try, and its results stay in ``runs``.
    """

    path: Path
    runs: Path
    scale: float
    title: str
    note: str
    data: dict[str, Any]
    split: dict[str, Any]
    evaluation: dict[str, Any]
    arms: dict[str, Arm]
    questions: tuple[Question, ...]

    @classmethod
    def read(cls, path: Path, *, runs: Path = RUNS, scale: float = 1.0) -> Recipe:
        """Read a recipe.

        Raises:
            SettingError: the file is not readable, or a name in it is unknown.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise SettingError(f"{path} is no recipe: {problem}") from problem
        if not 0 < scale <= 1:
            raise SettingError(f"--scale {scale}: a share of the users, above 0 and at most 1")
        _require_known(table, SECTIONS, f"{path}")
        _require_known(table.get("data", {}), READER, f"{path} [data]")
        _require_known(table.get("split", {}), SPLIT, f"{path} [split]")
        _require_known(
            table.get("evaluation", {}), _parameters(mo.evaluate), f"{path} [evaluation]"
        )
        questions = [_read_question(x, f"{path} [[questions]]") for x in table.get("questions", [])]
        arms = {
            name: _read_arm(name, arm, table.get("training", {}), f"{path} [arms.{name}]")
            for name, arm in table.get("arms", {}).items()
        }
        sources = [name for arm in arms.values() for name in arm.models.values()]
        asked = [name for x in questions for name in (x.subject, *x.against)]
        for name in (*sources, *asked):
            if name not in arms:
                raise SettingError(f"{path} names the arm {name!r}; {nearest(name, arms)}")
        return cls(
            path=path,
            runs=runs,
            scale=scale,
            title=table.get("title", path.stem),
            note=" ".join(table.get("note", "").split()),
            data=table.get("data", {}),
            split=table.get("split", {}),
            evaluation=table.get("evaluation", {}),
            arms=arms,
            questions=tuple(questions),
        )

    @property
    def name(self) -> str:
        return self.path.stem if self.scale == 1 else f"{self.path.stem}-at-{self.scale:g}"

    @property
    def folder(self) -> Path:
        """Where its units keep checkpoints and models."""
        return self.runs / self.name

    @property
    def results(self) -> Path:
        """Where its records are."""
        beside = self.path.parent / "results" / self.name
        return beside if self.scale == 1 else self.folder / "results"

    def units(self) -> list[Unit]:
        """Return all units, the first seed of every arm first."""
        found = [Unit(self, arm, seed) for arm in self.arms.values() for seed in arm.seeds]
        return sorted(found, key=lambda unit: unit.arm.seeds.index(unit.seed))

    def load_split(self, arm: Arm) -> Split:
        """Read the events, or those of a share of the users, and split them as for an arm."""
        return load_split(self.data, {**self.split, **arm.split}, self.scale)


@dataclass(frozen=True)
class Unit:
    """One arm with one seed: what is fitted, judged and recorded at a time."""

    recipe: Recipe
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.name}-{self.seed}"

    @property
    def folder(self) -> Path:
        return self.recipe.folder / self.name

    @property
    def record_path(self) -> Path:
        return self.recipe.results / f"{self.name}.json"

    @property
    def report_path(self) -> Path:
        """Folder of its report, one value per user, without which nothing can be tested later."""
        return self.recipe.results / "reports" / self.name

    @property
    def sources(self) -> dict[str, Unit]:
        """Setting -> the unit whose model it is."""
        found = {}
        for setting, name in self.arm.models.items():
            arm = self.recipe.arms[name]
            found[setting] = Unit(self.recipe, arm, arm.seeds[self.seed % len(arm.seeds)])
        return found

    @cached_property
    def key(self) -> str:
        """A hash of all that the recipe says about this unit; another key is another unit."""
        recipe = self.recipe
        parts = [RECORD, recipe.data, recipe.split, recipe.evaluation, recipe.scale]
        parts += [self.arm.method, self.arm.settings, self.seed]
        sources = {setting: unit.key for setting, unit in self.sources.items()}
        parts.append(sources.pop("teacher", None))
        parts += [x for x in (sources, self.arm.texts, dict(self.arm.split)) if x]
        parts += ["shuffled"] if self.arm.shuffled else []
        parts += [x for x in (FORMS.get(self.arm.method),) if x]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any] | None:
        """Return what was measured, None if nothing was with these settings."""
        try:
            found: dict[str, Any] = json.loads(self.record_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found if found["key"] == self.key else None

    def model(self) -> Any:
        """Return the method with its settings, not yet fitted."""
        settings = dict(self.arm.settings)
        settings |= {setting: unit.folder / "model" for setting, unit in self.sources.items()}
        if self.arm.texts:
            settings["texts"] = shared_data() / self.arm.texts
        return getattr(mo, self.arm.method)(**settings)


def _read_arm(name: str, table: dict[str, Any], training: dict[str, Any], where: str) -> Arm:
    _require_known(table, ARM, where)
    lacking = [key for key in ("method", "seeds") if key not in table]
    if lacking:
        raise SettingError(f"{where} lacks {' and '.join(lacking)}")
    if table["method"] not in dir(mo):
        raise SettingError(
            f"{where}: {table['method']!r} is no method; {nearest(table['method'], dir(mo))}"
        )
    method = getattr(mo, table["method"])
    fields = [field.name for field in dataclasses.fields(method)]
    settings = table.get("settings", {})
    if "epochs" in fields:
        settings = training | settings
    _require_known(settings, fields, f"{where} settings")
    _require_known(table.get("split", {}), SPLIT, f"{where} split")
    return Arm(
        name,
        table["method"],
        settings,
        tuple(table["seeds"]),
        models={setting: table[setting] for setting in MODELS if setting in table},
        texts=table.get("texts"),
        split=table.get("split", {}),
        shuffled=table.get("shuffled", False),
    )


def _read_question(table: dict[str, Any], where: str) -> Question:
    _require_known(table, QUESTION, where)
    strata = tuple(table.get("strata", (ALL,)))
    return Question(table["subject"], tuple(table["against"]), strata)


def _require_known(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise SettingError(f"{where}: {key!r} is not known; {nearest(key, known)}")


def _parameters(call: Any) -> list[str]:
    return list(inspect.signature(call).parameters)


SPLIT = [name for name in _parameters(mo.split) if name != "log"]
"""Settings of a split."""
