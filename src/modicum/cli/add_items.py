"""``modicum add-items``: a copy of a model that can also recommend new items, by their text."""

from __future__ import annotations

import shutil
from pathlib import Path

from modicum.cli.runs import FILE, load_recommender
from modicum.errors import SettingError


def add_items(model: Path, items: Path, *, out: Path) -> None:
    """Add the items of a table to a model that knows items by their text; nothing is trained.

    A run stays one: it can be judged again with the new items in its catalogue. Items that had no
    training event stay a stratum of their own in the report.

    Args:
        model: a folder that ``modicum fit`` or ``model.save`` has written.
        items: table of item ids and a text or a vector for each, as the model was fitted with.
        out: folder of the copy.
    """
    if out.resolve() == model.resolve():
        raise SettingError(f"--out {out} is the model itself; name another folder for the copy")
    former = load_recommender(model)
    grown = former.add_items(items)
    grown.save(out)
    if (model / FILE).exists():
        shutil.copy(model / FILE, out / FILE)
    added = len(grown.vocabulary) - len(former.vocabulary)
    print(f"saved in {out}: {added:,} new items beside {len(former.vocabulary):,}")
