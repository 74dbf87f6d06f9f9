"""What was built: one row for each photo and each masked copy, and splits that keep them together."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from modicum.errors import DataError, SettingError
from modicum.methods.faces.alignment import SIDE
from modicum.methods.faces.pictures import read_picture

NAME = "manifest.parquet"
BUILT = "built"
SCHEMA = {
    "identity": pl.String,
    "source": pl.String,
    "source_sha256": pl.String,
    "outcome": pl.String,
    "note": pl.String,
    "landmarker": pl.String,
    "style": pl.String,
    "mask": pl.String,
    "picture": pl.String,
    "picture_sha256": pl.String,
    "occlusion": pl.String,
    "square": pl.String,
    "print": pl.Binary,
}
"""``source`` is a path below the folder of photos, ``picture``, ``occlusion`` and ``square`` below
that of the manifest; ``style`` is null for the photo itself, ``mask`` holds a mask's fields as JSON.
``square`` is the aligned face, found in that very picture; null if none was found there."""

ALIKE = 20
"""Photos whose prints differ in at most so many of their 256 bits are near-duplicates."""


@dataclass(frozen=True)
class MaskedFaces:
    """Photos and their masked copies.

    Args:
        folder: of the manifest and the masked copies.
        photos: folder of the photos.
        frame: the manifest; ``print`` holds 256 bits of how a face looks.
    """

    folder: Path
    photos: Path
    frame: pl.DataFrame

    @property
    def built(self) -> pl.DataFrame:
        """The rows with a face, photos and masked copies."""
        return self.frame.filter(pl.col("outcome") == BUILT)

    @property
    def failures(self) -> pl.DataFrame:
        """The photos without, and why; ``note`` says what else is odd about those with."""
        return self.frame.filter(pl.col("outcome") != BUILT)

    def path(self, row: dict[str, str | None]) -> Path:
        """Return where the picture of a row lies."""
        return self.folder / row["picture"] if row["picture"] else self.photos / str(row["source"])

    def squares(self, rows: pl.DataFrame) -> np.ndarray:
        """Read the aligned faces of rows that have one, (n, 160, 160, 3) RGB bytes."""
        found = [read_picture(self.folder / square) for square in rows["square"]]
        return np.stack(found) if found else np.empty((0, SIDE, SIDE, 3), np.uint8)

    def duplicates(self) -> pl.DataFrame:
        """Return the photos that look alike: ``source``, ``identity``, ``group``, by group."""
        return self._grouped().filter(pl.len().over("group") > 1).sort("group", "source")

    def only(self, rows: pl.DataFrame) -> MaskedFaces:
        """Return the same with some rows of the manifest."""
        return replace(self, frame=rows)

    def folds(
        self, number: int, *, by: Literal["photo", "identity"], seed: int
    ) -> list[tuple[MaskedFaces, MaskedFaces]]:
        """Return training and test parts, ``number`` of them; each photo is in one test part.

        A photo, its masked copies and its near-duplicates never part company.

        Args:
            number: of folds.
            by: deal out the photos of each person, or the people.
            seed: of who goes where.

        Raises:
            SettingError: fewer than two folds.
            DataError: fewer people, or photos of a person, than folds.
        """
        if number < 2:
            raise SettingError(f"number={number} must be 2 or more")
        photos = self._grouped()
        if by == "identity":
            photos = photos.with_columns(group=pl.Series(_joined(photos)))
        units = photos.unique("group", keep="first", maintain_order=True)
        chance = np.random.default_rng(seed).permutation(len(units))
        units = units.with_columns(chance=pl.Series(chance))
        if by == "photo":
            few = units.group_by("identity").len().filter(pl.col("len") < number).sort("identity")
            if len(few):
                raise DataError(
                    f"{len(few)} people, {few['identity'][0]} first, have fewer than {number} "
                    "photos; leave them out, or make fewer folds"
                )
            start = pl.col("identity").rank("dense")
            fold = (pl.col("chance").rank("ordinal").over("identity") + start) % number
        else:
            if len(units) < number:
                raise DataError(f"{len(units)} people cannot be dealt into {number} folds")
            fold = pl.col("chance").rank("ordinal") % number
        dealt = photos.join(units.select("group", fold.alias("fold")), on="group")
        found = []
        for own in range(number):
            test = pl.col("source").is_in(dealt.filter(fold=own)["source"].to_list())
            found.append((self.only(self.built.filter(~test)), self.only(self.built.filter(test))))
        return found

    def _grouped(self) -> pl.DataFrame:
        """Return ``source``, ``identity`` and ``group`` of near-duplicates of each photo."""
        photos = self.built.filter(pl.col("style").is_null())
        return photos.select("source", "identity").with_columns(
            group=pl.Series(alike(photos["print"]))
        )


def read_manifest(folder: str | Path) -> MaskedFaces:
    """Read what ``build`` wrote.

    Raises:
        DataError: there is no manifest, or it is none of ours.
    """
    path = Path(folder) / NAME
    try:
        frame = pl.read_parquet(path)
        photos = pl.read_parquet_metadata(path)["photos"]
    except (OSError, KeyError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path} is no manifest of masked faces ({error}); build it first"
        ) from None
    return MaskedFaces(Path(folder), Path(folder, photos).resolve(), frame)


def require_faces(faces: Any, others: Any = None) -> None:
    """Raise DataError unless these are built faces; there may be no others."""
    for given in (faces,) if others is None else (faces, others):
        if not isinstance(given, MaskedFaces):
            raise DataError(
                f"{given!r} is a {type(given).__name__} where built faces belong; pass what "
                "mo.faces.build or mo.faces.read_manifest(folder) returned"
            )


def write_manifest(faces: MaskedFaces) -> None:
    """Write a manifest aside, then rename it."""
    path = faces.folder / NAME
    aside = path.with_name(f".{NAME}.{os.getpid()}")
    photos = os.path.relpath(faces.photos.resolve(), faces.folder.resolve())
    faces.frame.write_parquet(aside, metadata={"photos": photos})
    aside.replace(path)


def alike(prints: pl.Series) -> np.ndarray:
    """Return (n,) a number for each group of near-duplicates, from prints of 32 bytes.

    Groups are joined along chains: whoever is alike to one of a group belongs to it.
    """
    bits = np.frombuffer(b"".join(prints.to_list()), np.uint64).reshape(len(prints), -1)
    group = np.arange(len(bits))
    for start in range(0, len(bits), 1024):
        rows = bits[start : start + 1024]
        apart = sum(np.bitwise_count(rows[:, None, at] ^ bits[:, at]) for at in range(4))
        left, right = np.nonzero(apart <= ALIKE)
        for a, b in zip(left + start, right, strict=True):
            if group[a] != group[b]:
                group[group == max(group[a], group[b])] = min(group[a], group[b])
    return group


def _joined(photos: pl.DataFrame) -> np.ndarray:
    """Return (n,) a number for each set of people, who are joined where a near-duplicate is."""
    people = photos["identity"].rank("dense").to_numpy().astype(np.int64)
    while True:
        frame = photos.select("group").with_columns(person=pl.Series(people))
        least = frame.select(
            pl.col("person").min().over("group").alias("near"), pl.col("person").alias("own")
        )
        joined = least.select(pl.col("near").min().over("own"))["near"].to_numpy()
        if (joined == people).all():
            return people
        people = joined
