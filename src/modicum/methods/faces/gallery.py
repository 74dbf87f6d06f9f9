"""A gallery of people: enrol, verify, identify; whoever is not in it is refused.

A similarity means one thing between two bare faces and another where one is masked, so each of the
three states has a threshold of its own, calibrated at the false-accept rate that was asked for.
Where a mask is worn, it is set against a crowd of other people first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
import torch

from modicum import bundle
from modicum.errors import BundleError, DataError, NotFittedError, nearest
from modicum.methods.faces.crowd import LEAST_PEOPLE, Crowd, set_against
from modicum.methods.faces.embeddings import Embeddings
from modicum.methods.faces.manifest import MaskedFaces, require_faces
from modicum.methods.faces.verification import threshold_at

if TYPE_CHECKING:
    from modicum.methods.faces.maskedfacerecognizer import MaskedFaceRecognizer

State = Literal["none/none", "none/mask", "mask/mask"]
STATES: tuple[State, ...] = ("none/none", "none/mask", "mask/mask")
METHOD = "faces.gallery"
MODEL = "model"
CALIBRATION_PHOTOS = 4_000
"""Photos whose pairs a threshold is taken from, at most; that is eight million pairs."""
CROWD_PHOTOS = 1_000
"""Photos, and masked copies, that are kept of the crowd, at most; 4 KB each."""


class Gallery:
    """People who are known by their photos.

    Args:
        model: a fitted recognizer; its embeddings are what is kept of a face.

    Raises:
        DataError: this is no recognizer.

    >>> Gallery.load("nowhere")
    Traceback (most recent call last):
    modicum.errors.BundleError: nowhere is not a saved model: it has no config.json; name a folder that save() wrote
    """

    def __init__(self, model: MaskedFaceRecognizer) -> None:
        if isinstance(model, type) or not hasattr(model, "embed"):
            raise DataError(
                f"a gallery needs a fitted recognizer, not {model!r}; pass "
                "mo.faces.MaskedFaceRecognizer().fit(faces), or mo.load(folder) of a saved one"
            )
        self.model = model
        self.names: list[str] = []
        self.vectors = Embeddings.empty(model.dim)
        self.standing = np.zeros(0, np.float32)
        self.crowd: Crowd | None = None
        self.thresholds: dict[State, float] = {}
        self.far: float | None = None

    def __len__(self) -> int:
        """Number of photos enrolled."""
        return len(self.names)

    @property
    def people(self) -> list[str]:
        """Who is enrolled, by name."""
        return sorted(set(self.names))

    def enrol(self, name: str, pictures: Sequence[str | Path | np.ndarray]) -> int:
        """Add photos of a person, masked or not, each with one face that is large and central.

        Returns:
            The number of photos enrolled.

        Raises:
            DataError: a photo cannot be read or has no face; then none of them is enrolled.
        """
        if not name:
            raise DataError("name='' cannot be enrolled; give a name or a number as text")
        found = self.model.embed(pictures)
        self.add([name] * len(found), found)
        return len(found)

    def add(self, names: Sequence[str], vectors: Embeddings) -> None:
        """Enrol embeddings, one for each name."""
        if len(names) != len(vectors):
            raise DataError(f"{len(names)} names do not go with {len(vectors)} embeddings")
        self.names += names
        self.vectors = Embeddings.joined([self.vectors, vectors])
        self.standing = np.concatenate([self.standing, _standing(vectors, self.crowd)])

    def remove(self, name: str) -> None:
        """Forget a person.

        Raises:
            DataError: nobody of this name is enrolled.
        """
        self._require(name)
        keep = np.array([other != name for other in self.names])
        self.names = [other for other in self.names if other != name]
        self.vectors, self.standing = self.vectors.take(keep), self.standing[keep]

    def calibrate(self, faces: MaskedFaces, *, far: float = 1e-3) -> dict[State, float]:
        """Set the threshold of each state from photos and masked copies of other people.

        Of 40 people or more half are the crowd from now on, kept, without names, with the gallery;
        pairs of the others set the thresholds, if they are enough to tell ``far``.

        Args:
            faces: people of whom none need be enrolled, nor should be; at best none was trained on
                either.
            far: share of pairs of two people that may be accepted.

        Raises:
            DataError: these are no built faces, or too few people to tell that rate; the message
                says how many pairs there were.
        """
        require_faces(faces)
        frame = faces.built.filter(pl.col("square").is_not_null())
        people = frame["identity"].unique().sort().shuffle(seed=0)
        crowd, others = None, pl.col("identity").is_in(people.tail(-(len(people) // 2)).to_list())
        if len(people) // 2 >= LEAST_PEOPLE and _tells(frame.filter(others), far):
            crowd = Crowd(self._embedded(faces, frame.filter(~others), CROWD_PHOTOS)[1])
            frame = frame.filter(others)
        names, found = self._embedded(faces, frame, CALIBRATION_PHOTOS)
        standing = _standing(found, crowd)
        bare, worn = ~found.masked, found.masked
        thresholds: dict[State, float] = {}
        sides = ((bare, bare), (bare, worn), (worn, worn))
        for state, (left, right) in zip(STATES, sides, strict=True):
            similarity = found.take(left).similarity(found.take(right), worn=right is worn)
            if right is worn:
                similarity = set_against(similarity, standing[left], standing[right])
            different = names[left][:, None] != names[right]
            thresholds[state] = threshold_at(similarity[different], far)
        self.crowd, self.thresholds, self.far = crowd, thresholds, far
        self.standing = _standing(self.vectors, crowd)
        return self.thresholds

    def verify(self, name: str, picture: str | Path | np.ndarray) -> bool:
        """Tell whether a picture shows the person of that name.

        Raises:
            DataError: nobody of this name is enrolled, or the picture has no face.
            NotFittedError: the gallery was not calibrated.
        """
        self._require(name)
        margins = self._margins(self.model.embed([picture]))[0]
        own = np.array([other == name for other in self.names])
        return bool(margins[own].max() >= 0)

    def identify(self, pictures: Sequence[str | Path | np.ndarray]) -> pl.DataFrame:
        """Say who is in each picture, by exact search.

        Returns:
            One row for each picture: ``query``, its position; ``name``, null for someone unknown;
            ``score``, the cosine similarity to the nearest enrolled photo, where a mask is worn
            less what both have in common with the crowd; ``threshold`` of that pair's ``state``;
            ``nearest``, whose photo that was.

        Raises:
            DataError: the gallery is empty, or a picture has no face.
            NotFittedError: the gallery was not calibrated.
        """
        return self.search(self.model.embed(pictures))

    def search(self, probes: Embeddings) -> pl.DataFrame:
        """Return what ``identify`` does, for embeddings."""
        if not self.names:
            raise DataError("the gallery is empty; enrol someone first")
        margins = self._margins(probes)
        best = margins.argmax(1)
        rows = np.arange(len(probes))
        states = [
            STATES[int(a) + int(b)]
            for a, b in zip(probes.masked, self.vectors.masked[best], strict=True)
        ]
        thresholds = np.array([self.thresholds[state] for state in states])
        nearest_names = [self.names[at] for at in best]
        known = margins[rows, best] >= 0
        return pl.DataFrame(
            {
                "query": rows,
                "name": [
                    name if sure else None for name, sure in zip(nearest_names, known, strict=True)
                ],
                "score": margins[rows, best] + thresholds,
                "threshold": thresholds,
                "state": states,
                "nearest": nearest_names,
            },
            schema_overrides={"name": pl.String, "state": pl.String, "nearest": pl.String},
        )

    def save(self, folder: str | Path) -> Path:
        """Write the gallery with its model; embeddings are personal data, keep them so."""
        folder = Path(folder)
        self.model.save(folder / MODEL)
        vectors = {"whole": self.vectors.whole, "covered": self.vectors.covered}
        tables = {
            "enrolled": pl.DataFrame(
                {"name": self.names, "masked": self.vectors.masked},
                schema={"name": pl.String, "masked": pl.Boolean},
            )
        }
        if self.crowd is not None:
            strangers = self.crowd.faces
            vectors |= {"crowd.whole": strangers.whole, "crowd.covered": strangers.covered}
            vectors["standing"] = self.standing
            tables["crowd"] = pl.DataFrame({"masked": strangers.masked})
        saved = bundle.Bundle(
            method=METHOD,
            settings={},
            tables=tables,
            weights={name: torch.from_numpy(x) for name, x in vectors.items()},
            training_log=[],
            lineage={"thresholds": self.thresholds, "far": self.far, "model": self.model.digest},
        )
        return bundle.save(saved, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Gallery:
        """Load what ``save`` wrote.

        Raises:
            BundleError: the folder is no gallery, is damaged, or its model is another one.
        """
        saved = bundle.read(Path(folder))
        if saved.method != METHOD:
            raise BundleError(f"{folder} is no gallery but a model of {saved.method!r}")
        model: Any = bundle.load(Path(folder) / MODEL)
        if saved.lineage.get("model") != model.digest:
            raise BundleError(f"{folder} was enrolled with another model than the one beside it")
        gallery = cls(model)
        arrays = {name: tensor.numpy() for name, tensor in saved.weights.items()}
        enrolled = saved.tables["enrolled"]
        gallery.names = enrolled["name"].to_list()
        gallery.vectors = Embeddings(
            arrays["whole"], arrays["covered"], enrolled["masked"].to_numpy()
        )
        gallery.standing = np.zeros(len(gallery), np.float32)
        if "crowd" in saved.tables:
            masked = saved.tables["crowd"]["masked"].to_numpy()
            strangers = Embeddings(arrays["crowd.whole"], arrays["crowd.covered"], masked)
            gallery.crowd, gallery.standing = Crowd(strangers), arrays["standing"]
        gallery.thresholds, gallery.far = saved.lineage["thresholds"], saved.lineage["far"]
        return gallery

    def _margins(self, probes: Embeddings) -> np.ndarray:
        """Return (P, N) similarity less the threshold of the pair's state."""
        if not self.thresholds:
            raise NotFittedError("the gallery has no thresholds; call calibrate() first")
        found = np.empty((len(probes), len(self)), np.float32)
        enrolled, standing = self.vectors, _standing(probes, self.crowd)
        for row, hidden in enumerate(probes.masked):
            probe = probes.take(np.array([row]))
            for masked in (False, True):
                rows = (
                    slice(None) if (enrolled.masked == masked).all() else enrolled.masked == masked
                )
                worn = bool(hidden) or masked
                similarity = enrolled.take(rows).similarity(probe, worn=worn)
                if worn:
                    similarity = set_against(similarity, self.standing[rows], standing[[row]])
                threshold = self.thresholds[STATES[int(hidden) + masked]]
                found[row, rows] = similarity[:, 0] - threshold
        return found

    def _embedded(
        self, faces: MaskedFaces, rows: pl.DataFrame, at_most: int
    ) -> tuple[np.ndarray, Embeddings]:
        """Return who is on a sample of rows, bare and masked, and their embeddings."""
        masked = pl.col("style").is_not_null()
        kinds = [rows.filter(kind) for kind in (~masked, masked)]
        kept = pl.concat([kind.sample(min(len(kind), at_most), seed=0) for kind in kinds])
        found = self.model.embed_squares(faces.squares(kept))
        worn = kept["style"].is_not_null().to_numpy()
        return kept["identity"].to_numpy(), replace(found, masked=worn)

    def _require(self, name: str) -> None:
        if name not in self.names:
            hint = nearest(name, set(self.names))
            raise DataError(f"nobody is enrolled as {name!r}; {hint}")


def _tells(frame: pl.DataFrame, far: float) -> bool:
    """Tell whether pairs of two people, bare and masked, are enough for a false-accept rate."""
    own = frame.group_by(pl.col("style").is_null(), "identity").len()
    every = own.group_by("style").agg(pl.col("len").sum() ** 2 - (pl.col("len") ** 2).sum())
    return bool((far * every["len"] >= 1).all())


def _standing(faces: Embeddings, crowd: Crowd | None) -> np.ndarray:
    return np.zeros(len(faces), np.float32) if crowd is None else crowd.standing(faces)
