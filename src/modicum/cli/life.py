"""The life of a model in its folder: what is live, who is at work on it, and what was decided."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modicum.cli.runs import MODEL
from modicum.errors import SettingError

LOCK, JOURNAL = ".watch.lock", "watch.jsonl"
"""Files of a life beside its runs."""

NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-[0-9a-f]{8}")
"""How ``modicum watch`` names its runs: by their newest event, and by a hash of the events."""


class Life:
    """A folder of runs and a link to the one that is live.

    Args:
        link: path of the symbolic link, such as ``runs/current``.

    Raises:
        SettingError: it is no link to a folder.
    """

    def __init__(self, link: Path) -> None:
        if not link.is_symlink() or not link.is_dir():
            raise SettingError(
                f"{link} is no symbolic link to a run, which could be switched; make one beside "
                f"the run: ln -s NAME {link}"
            )
        self.link = link
        self.folder = link.parent

    @property
    def live(self) -> Path:
        """The run that is live."""
        return self.link.resolve()

    def switch(self, run: Path) -> None:
        """Make a run of the folder the live one, at once: no reader finds none, or another."""
        aside = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        aside.unlink(missing_ok=True)
        aside.symlink_to(run.name, target_is_directory=True)
        aside.replace(self.link)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the folder alone; False if another process holds it. A kill lets go of it."""
        import fcntl  # not on Windows, where all else works

        with (self.folder / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def place(self, newest: datetime, digest: str) -> Path:
        """Return the folder of a run on events with this newest one and this hash."""
        return self.folder / f"{newest:%Y-%m-%dT%H-%M-%S}-{digest[:8]}"

    def sweep(self, keep: int, coming: Path | None = None) -> None:
        """Delete runs that a watch has made: all unfinished ones, and those before the newest.

        Args:
            keep: finished ones that stay; the live one stays in any case.
            coming: one that is not to be touched.
        """
        runs = sorted(path for path in self.folder.iterdir() if NAME.fullmatch(path.name))
        finished = [path for path in runs if (path / MODEL).exists()]
        spared = {*finished[-keep:], self.live, coming}
        for path in runs:
            if path not in spared and path.resolve() not in spared:
                shutil.rmtree(path)

    def record(self, decision: str, **figures: Any) -> None:
        """Append a line to the journal."""
        line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "decision": decision}
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"live": self.live.name} | figures) + "\n")

    def was_judged(self, asked: dict[str, Any]) -> bool:
        """Tell whether a new model of these very events was promoted, or judged as is asked for.

        So one that was promoted and taken back by hand does not come again by itself.
        """
        path = self.folder / JOURNAL
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return any(
            (line.get("decision") == "promoted" and line.get("events") == asked["events"])
            or (line.get("decision") == "kept" and asked.items() <= line.items())
            for line in map(_parsed, lines)
        )


def _parsed(line: str) -> dict[str, Any]:
    """Return a line of the journal, nothing of one that a kill cut off."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
