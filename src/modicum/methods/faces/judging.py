"""A recognizer judged on photos and masked copies of people it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import polars as pl

from modicum.errors import DataError
from modicum.methods.faces.crowd import LEAST_PEOPLE, Crowd, set_against
from modicum.methods.faces.embeddings import Embeddings
from modicum.methods.faces.manifest import MaskedFaces, require_faces
from modicum.methods.faces.maskedfacerecognizer import MaskedFaceRecognizer
from modicum.methods.faces.verification import Pairs, closed_set, rate


def judge(
    model: MaskedFaceRecognizer,
    faces: MaskedFaces,
    *,
    crowd: MaskedFaces | None = None,
    fars: Sequence[float] = (1e-2, 1e-3),
    seed: int = 0,
) -> pl.DataFrame:
    """Return how well a model tells the people of ``faces`` apart, by state of the masks.

    A masked copy in which no face was found is a false reject and a wrong answer.

    Args:
        model: fitted, at best on other people.
        faces: what ``build`` made.
        crowd: 20 other people or more, against whom similarities are set where a mask is worn, as a
            calibrated gallery does; without them similarities count as they are.
        fars: false-accept rates; each needs 1 / far pairs of two people.
        seed: of the intervals, which draw people.

    Returns:
        One row for each state, style and measure: ``gallery`` and ``probe`` (``"bare"``,
        ``"masked"``), ``style`` of the probes, null for all; ``measure``; ``value`` with ``low``
        and ``high``; ``n`` pairs or probes of ``people``; ``threshold``.

    Raises:
        DataError: these are no built faces, too few people for a rate or a crowd, or people are in
            both.
    """
    require_faces(faces, crowd)
    frame = faces.built
    bare = frame.filter(pl.col("style").is_null())
    masked = frame.filter(pl.col("style").is_not_null())
    vectors = {id(part): embedded(model, faces, part) for part in (bare, masked)}
    if crowd is not None:
        strangers = crowd_of(model, crowd, apart_from=faces)
        standing = {id(part): strangers.standing(vectors[id(part)]) for part in (bare, masked)}
    rows = []
    for gallery, probes in ((bare, bare), (bare, masked), (masked, masked)):
        worn = gallery is masked or probes is masked
        left, right = (vectors[id(part)] for part in (gallery, probes))
        similarity = left.similarity(right, worn=worn)
        if worn and crowd is not None:
            similarity = set_against(similarity, standing[id(gallery)], standing[id(probes)])
        similarity[np.isnan(similarity)] = -np.inf
        state = {
            "gallery": "masked" if gallery is masked else "bare",
            "probe": "masked" if probes is masked else "bare",
        }
        styles = [None, *sorted(masked["style"].unique())] if probes is masked else [None]
        for style in styles:
            chosen = probes if style is None else probes.filter(pl.col("style") == style)
            own = similarity
            if style is not None:
                own = similarity[:, (probes["style"] == style).to_numpy()]
            pairs = Pairs.of(own, gallery, chosen)
            found = {f"TAR at FAR {far:g}": pairs.tar(far, seed=seed) for far in fars}
            right_one = closed_set(own, gallery, chosen)
            found["nearest is right"] = rate(right_one, chosen["identity"].to_numpy(), seed=seed)
            rows += [
                state | {"style": style, "measure": name} | asdict(value)
                for name, value in found.items()
            ]
    return pl.DataFrame(rows, schema_overrides={"style": pl.String, "threshold": pl.Float64})


def crowd_of(model: MaskedFaceRecognizer, faces: MaskedFaces, *, apart_from: MaskedFaces) -> Crowd:
    """Return all faces found in a built folder as a crowd of other people.

    Raises:
        DataError: people are in both, or too few.
    """
    rows = faces.built.filter(pl.col("square").is_not_null())
    people, others = (set(part.built["identity"]) for part in (faces, apart_from))
    if people & others:
        raise DataError(
            f"{min(people & others)} and {len(people & others) - 1} others are both of the crowd and "
            "asked for; a crowd is of other people"
        )
    if len(people) < LEAST_PEOPLE:
        raise DataError(
            f"a crowd of {len(people)} people does more harm than good; give {LEAST_PEOPLE} or more"
        )
    return Crowd(embedded(model, faces, rows))


def embedded(model: MaskedFaceRecognizer, faces: MaskedFaces, rows: pl.DataFrame) -> Embeddings:
    """Return the embeddings of rows of a manifest, which says who is masked.

    They are NaN where no face was found.
    """
    there = rows["square"].is_not_null().to_numpy()
    found = model.embed_squares(faces.squares(rows.filter(there)))
    return found.spread_out(there, rows["style"].is_not_null().to_numpy())
