"""A run: the folder of a fitted model, with what it was fitted on and how."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import modicum as mo
from modicum.cli.events import Targets, paths_of, source_of
from modicum.data.fetching import sha256
from modicum.errors import BundleError, DataError, SettingError

if TYPE_CHECKING:
    from modicum.data.log import EventLog
    from modicum.data.split import Split

FILE = "run.json"

MODEL, CHECKPOINT = "config.json", "checkpoint"
"""What a finished run holds, and what an unfinished one may hold."""

RECOMMENDER = "a recommender: ask it by 'modicum recommend', 'modicum score' or 'modicum serve'"

FAMILIES = {
    "sequential": RECOMMENDER,
    "crossdomain": RECOMMENDER,
    "conversion": "a model of a funnel: ask it by 'modicum predict' or 'modicum serve'",
    "rating": (
        "a model of ratings: ask it by 'modicum serve', or in Python by "
        "mo.load(folder).predict(users, items)"
    ),
    "faces": "a model of faces: ask it by 'modicum faces', or in Python",
}
"""What the models of each family of methods are, and how they are asked."""


class Kept:
    """What makes a run repeatable, kept in its folder; a dataclass adds its fields."""

    def check(self) -> None:
        """Raise ValueError where a field cannot be right; nothing here."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the description of the run in ``folder``.

        Raises:
            BundleError: there is none, or it is not readable.
        """
        path = folder / FILE
        try:
            run = cls(**json.loads(path.read_text(encoding="utf-8")))
            run.check()
            return run
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(
                f"{folder} is not a run: it has no {FILE}; name a folder that "
                "'modicum fit ... --out' has written"
            ) from None
        except (ValueError, TypeError) as error:
            raise BundleError(f"{path} is damaged ({error}); fit the run again") from error

    @property
    def entries(self) -> dict[str, Any]:
        """The fields as JSON values."""
        entries: dict[str, Any] = json.loads(json.dumps(vars(self), default=str))
        return entries

    def is_in(self, folder: Path) -> bool:
        """Tell whether ``folder`` holds this very run, finished or not."""
        return (folder / FILE).exists() and vars(self.read(folder)) == self.entries

    def enter(self, folder: Path) -> None:
        """Make ``folder`` the place of this run, or go on with the same run in it.

        Raises:
            SettingError: the folder holds what was learnt with other settings.
        """
        mine = self.entries
        if any((folder / learnt).exists() for learnt in (MODEL, CHECKPOINT)):
            there = vars(self.read(folder))
            differ = [
                f"{key}: {there[key]} there, {mine[key]} here"
                for key in mine
                if mine[key] != there[key]
            ]
            if differ:
                raise SettingError(
                    f"{folder} holds a run with other settings ({'; '.join(differ)}); "
                    "choose another folder with --out, or delete this one"
                )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(mine, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Run(Kept):
    """A recommender fitted on an event log.

    Args:
        method: word of the method.
        settings: its fields that were given.
        seed: of everything random.
        events: path of the event log, or one for each domain.
        columns: arguments of ``modicum.read_events``, where given.
        on_error: what the reader does with broken rows.
        split: keyword arguments of ``modicum.split``.
        sha256: of the files of events.
        start: folder of the model that the training began with, and the hash of its weights.
    """

    method: str
    settings: dict[str, Any]
    seed: int
    events: str
    columns: dict[str, Any]
    on_error: str
    split: dict[str, Any]
    sha256: str
    start: dict[str, str] | None = None

    def check(self) -> None:
        from modicum.data.log import ROLES

        of_split = {"by", "targets", "validation", "test"}
        of_split |= {field.name for field in fields(Targets)}
        unknown = [*(set(self.columns) - {*ROLES}), *(set(self.split) - of_split)]
        if unknown:
            raise ValueError(f"unknown: {', '.join(map(repr, unknown))}")

    def load_log(self, events: str | None = None) -> EventLog:
        """Read the events again, from where they were or from where they are now."""
        source = source_of(self._source(events))
        return mo.read_events(source, **self.columns, on_error=self.on_error)

    def load_split(self, events: str | None = None) -> Split:
        """Read the events again and split them as the run did.

        Raises:
            DataError: the events are not those that the run was fitted on.
        """
        source = self._source(events)
        if fingerprint(source) != self.sha256:
            raise DataError(
                f"{source} is not what the run was fitted on: its content has changed; name the "
                "original with --events, or fit again"
            )
        return mo.split(self.load_log(events), **self.split)

    def _source(self, events: str | None) -> str:
        source = events or self.events
        for path in paths_of(source):
            if not Path(path).exists():
                raise DataError(
                    f"there is no file {path}, where the events of this run should be; name the "
                    "place with --events"
                )
        return source


def load_model(folder: Path) -> Any:
    """Load the model of a finished run, or any saved model.

    Raises:
        BundleError: the run was stopped before its end, or there is no model.
    """
    if (folder / FILE).exists() and not (folder / MODEL).exists():
        raise BundleError(
            f"{folder} holds a run that is not finished; the 'modicum fit' that began it goes on "
            "from there"
        )
    return mo.load(folder)


def load_recommender(folder: Path) -> Any:
    """Load the recommender of a finished run, or any saved one.

    Raises:
        BundleError: the run was stopped before its end, or there is no recommender.
    """
    from modicum.methods.recommender import Recommender

    found = load_model(folder)
    if not isinstance(found, Recommender):
        raise BundleError(f"{folder} holds no recommender but {family_of(found)}")
    return found


def family_of(model: Any) -> str:
    """Return what kind of model a loaded one is, and how it is asked.

    >>> family_of(mo.Popularity())
    "Popularity, a recommender: ask it by 'modicum recommend', 'modicum score' or 'modicum serve'"
    """
    return f"{type(model).__name__}, {FAMILIES[type(model).__module__.split('.')[2]]}"


def origin(folder: Path, model: Any) -> dict[str, str]:
    """Return what a run says of the model that its training begins with."""
    from modicum.methods.network import weights_digest

    return {"folder": str(folder), "sha256": weights_digest(model.fitted_network)}


def fingerprint(events: str) -> str:
    """Return the SHA-256 of a file; of several, that of theirs.

    Raises:
        DataError: there is no such file.
    """
    digests = [_sha256(path) for path in paths_of(events)]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _sha256(path: str) -> str:
    try:
        return sha256(Path(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; check the path") from None
