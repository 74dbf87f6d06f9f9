"""Make the study of masked faces: ``python experiments/masked_faces.py``, hours on one thread.

It builds the masked copies, computes what all trainings share once, then makes unit after unit, and
goes on where it was stopped. A unit is an arm with a seed, a fold, and the style of mask that its
training did not meet; its similarities stay in ``runs``, its figures are in ``results``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from records import filled, origin, write_json, write_text

import modicum as mo
from modicum.data.fetching import sha256
from modicum.errors import DataError, ModicumError
from modicum.methods.faces.crowd import Crowd, set_against
from modicum.methods.faces.dataset import most_central
from modicum.methods.faces.embeddings import Embeddings
from modicum.methods.faces.faceclassifier import FaceClassifier
from modicum.methods.faces.features import features_of
from modicum.methods.faces.landmarks import FaceMesh
from modicum.methods.faces.manifest import MaskedFaces
from modicum.methods.faces.masks import STYLES
from modicum.methods.faces.pictures import read_picture
from modicum.methods.faces.verification import Pairs, closed_set, open_set, rate

HERE = Path(__file__).parent
RECIPE = HERE / "studies" / "masked-faces.toml"
RECORD = HERE / "results" / "masked-faces.json"
PAGE = HERE.parent / "docs" / "methods" / "masked-faces.md"
RUNS = HERE.parent / "runs" / "experiments" / "masked-faces"
SHARED = Path(os.environ.get("MODICUM_SHARED", HERE / "../../shared")).resolve() / "data"
HIDDEN = (2, 0, 17, 61, 291)
"""Base of the nose, lips, corners of the mouth: what a mask must hide."""


@dataclass(frozen=True)
class Unit:
    """A training and what it is asked.

    Args:
        task: ``people`` (folds of people), ``photos`` (of photos) or ``open`` (25 enrolled).
        arm, seed: which training.
        fold: number of the test part, or of the draw.
        style: of the test's masks, not met before.
    """

    task: str
    arm: str
    seed: int
    fold: int
    style: str

    @property
    def name(self) -> str:
        return f"{self.task}-{self.arm}-{self.style}-{self.fold}-{self.seed}"


class Study:
    """The study of a recipe, on the photos of ``scale`` of the people."""

    def __init__(self, recipe: dict[str, Any], runs: Path, scale: float) -> None:
        self.recipe, self.runs, self.scale = recipe, runs, scale
        self.told = recipe["study"]

    def run(self, only: str) -> None:
        """Make every unit that is not there yet."""
        photos = SHARED / self.recipe["photos"]
        if not photos.is_dir():
            raise DataError(f"there are no photos in {photos}; set MODICUM_SHARED")
        self.faces = mo.faces.build(
            self.some_of(photos), self.runs / "built", **self.recipe["build"]
        )
        frozen = mo.faces.MaskedFaceRecognizer(stages=()).fit(self.faces, progress=False)
        self.features = features_of(frozen.network, self.faces, progress=True)
        units = [unit for unit in self.units() if only in unit.name]
        for number, unit in enumerate(units, 1):
            if not self.place(unit).exists():
                print(f"{number}/{len(units)} {unit.name}", file=sys.stderr, flush=True)
                self.make(unit)
        for name, settings in self.recipe["classifiers"].items():
            path = self.runs / "classifiers" / f"{name}.json"
            if only in f"classifier-{name}" and not path.exists():
                print(f"classifier {name}", file=sys.stderr, flush=True)
                write_json(path, self.classified(name, settings))

    def classified(self, name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Train a network from scratch on four folds of photos, and name the fifth's people."""
        train, test = self.faces.folds(self.told["folds"], by="photo", seed=self.told["dealt"])[0]
        style = pl.col("style")
        unmet = STYLES[-1]
        known = train.only(train.frame.filter(style.is_null() | (style != unmet)))
        model = FaceClassifier(**settings, device="cpu")
        model.fit(known, folder=self.runs / "checkpoints" / f"classifier-{name}")
        rows = []
        for kind in (None, *STYLES):
            asked = test.frame.filter(style.is_null() if kind is None else style == kind)
            there = asked["square"].is_not_null().to_numpy()
            named = np.full(len(asked), "", object)
            named[there] = model.classify(test.squares(asked.filter(there)))
            people = asked["identity"].to_numpy()
            value = rate(named == people, people, seed=0)
            rows.append({"style": kind, "met": kind != unmet} | asdict(value))
        return rows

    def some_of(self, photos: Path) -> Path:
        """Return the folder of photos, or one with links to some of the people."""
        if self.scale == 1:
            return photos
        people = sorted(path for path in photos.iterdir() if path.is_dir())
        some = self.runs / "photos"
        some.mkdir(parents=True, exist_ok=True)
        for person in people[: max(10, round(self.scale * len(people)))]:
            if not (some / person.name).exists():
                (some / person.name).symlink_to(person)
        return some

    def units(self) -> Iterator[Unit]:
        """Yield all units, task by task and arm by arm."""
        for task, arms in self.recipe["tasks"].items():
            parts = self.told["open_draws"] if task == "open" else self.told["folds"]
            for arm, seeds in arms.items():
                for seed in seeds:
                    for style in STYLES:
                        for fold in range(parts):
                            yield Unit(task, arm, seed, fold, style)

    def place(self, unit: Unit) -> Path:
        """Return where a unit of these settings is kept."""
        told = [self.recipe["build"], self.told, self.recipe["arms"][unit.arm]]
        key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
        return self.runs / "units" / f"{unit.name}-{key}.npz"

    def make(self, unit: Unit) -> None:
        """Train a unit, and keep its similarities with what they are between."""
        train, gallery, probes, crowd = self.parts(unit)
        model = mo.faces.MaskedFaceRecognizer(**self.recipe["arms"][unit.arm], device="cpu")
        model.fit(
            train,
            seed=unit.seed,
            progress=False,
            folder=self.runs / "checkpoints" / self.place(unit).stem,
        )
        sides = {"gallery": gallery, "probe": probes}
        vectors = {side: self.embedded(model, rows) for side, rows in sides.items()}
        similarity = vectors["gallery"].similarity(vectors["probe"], worn=True)
        arrays = {"similarity": np.where(np.isnan(similarity), -np.inf, similarity)}
        for side, rows in sides.items():
            for column in ("identity", "source", "style"):
                arrays[f"{side}_{column}"] = rows[column].fill_null("").to_numpy().astype(str)
        if len(crowd):
            strangers = Crowd(self.embedded(model, crowd))
            for side, own in vectors.items():
                arrays[f"{side}_standing"] = strangers.standing(own)
        path = self.place(unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}")
        with aside.open("wb") as file:
            np.savez(file, **arrays)
        aside.replace(path)

    def parts(self, unit: Unit) -> tuple[MaskedFaces, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Return what a unit trains on, enrols, asks for, and has as its crowd.

        The unit's style is only in what is asked for. ``people``: of those who are not of the test
        part some are the crowd, the others are trained on; photos of all but the crowd are
        enrolled, masked copies of the test people asked for. ``photos``: photos of four folds and
        their masked copies enrolled, masked copies of the fifth asked for. ``open``: every other
        photo of half the people enrolled, masked copies of the rest of them and of the unknown.
        """
        bare, asked = pl.col("style").is_null(), pl.col("style") == unit.style
        apart = pl.lit(False)
        if unit.task == "open":
            names = sorted(self.faces.built["identity"].unique())
            drawn = np.random.default_rng(unit.fold).permutation(names)[: len(names) // 2]
            (train, other), *_ = self.faces.folds(2, by="photo", seed=unit.fold)
            train = train.only(train.frame.filter(pl.col("identity").is_in(list(drawn))))
        else:
            by: Any = "identity" if unit.task == "people" else "photo"
            folds = self.faces.folds(self.told["folds"], by=by, seed=self.told["dealt"])
            train, other = folds[unit.fold]
        if unit.task == "people":
            names = sorted(train.frame["identity"].unique())
            drawn = np.random.default_rng(unit.fold).permutation(names)[: self.told["crowd"]]
            apart = pl.col("identity").is_in(list(drawn))
        train = train.only(train.frame.filter(bare | ~asked))
        crowd = train.frame.filter(apart & pl.col("square").is_not_null())
        train = train.only(train.frame.filter(~apart))
        enrolled = {
            "people": self.faces.built.filter(bare & ~apart),
            "photos": train.frame,
            "open": train.frame.filter(bare),
        }
        return train, enrolled[unit.task], other.frame.filter(asked), crowd

    def embedded(self, model: mo.faces.MaskedFaceRecognizer, rows: pl.DataFrame) -> Embeddings:
        """Return embeddings of rows from shared features; NaN where no face was found."""
        there = rows["square"].is_not_null().to_numpy()
        found = model.embed_features(self.features, rows["square"].drop_nulls(), masked=True)
        return found.spread_out(there, rows["style"].is_not_null().to_numpy())

    def record(self) -> dict[str, Any]:
        """Sum up the units that are there."""
        figures = []
        for task, arms in self.recipe["tasks"].items():
            of_task = {"people": self.of_tar, "photos": self.of_closed, "open": self.of_open}[task]
            parts = self.told["open_draws" if task == "open" else "folds"]
            for arm, seeds in arms.items():
                for seed in seeds:
                    for style in (None, *STYLES):
                        found = list(self.kept(task, arm, seed, style))
                        if len(found) == parts * (len(STYLES) if style is None else 1):
                            place = {"arm": arm, "seed": seed, "style": style}
                            place |= {"crowd": None, "impostors": None}
                            figures += [place | row for row in of_task(found)]
        built = self.faces
        return {
            "recipe": RECIPE.stem,
            "digest": sha256(RECIPE)[:16],
            **origin(),
            "data": {
                "people": built.frame["identity"].n_unique(),
                "photos": built.frame["source"].n_unique(),
                "failures": built.failures["outcome"].value_counts().to_dicts(),
                "copies": len(built.built) - built.built["style"].null_count(),
                "copies without a face": dict(
                    built.built.filter(pl.col("square").is_null())["style"]
                    .value_counts()
                    .sort("style")
                    .iter_rows()
                ),
                "near-duplicates": len(built.duplicates()),
                "digest": sha256(self.runs / "built" / "manifest.parquet")[:16],
            },
            "unmasked": self.unmasked(),
            "occlusion": self.occlusion(),
            "figures": figures,
            "classifiers": {
                path.stem: json.loads(path.read_text(encoding="utf-8"))
                for path in sorted(self.runs.glob("classifiers/*.json"))
            },
        }

    def kept(self, task: str, arm: str, seed: int, style: str | None) -> Iterator[dict[str, Any]]:
        """Yield the kept units of an arm, those of one style if it is given."""
        for unit in self.units():
            if (unit.task, unit.arm, unit.seed) != (task, arm, seed):
                continue
            place = self.place(unit)
            if style in (None, unit.style) and place.exists():
                with np.load(place) as arrays:
                    yield dict(arrays)

    def of_tar(self, units: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pool pairs over folds: impostors of all but the crowd, and of the test people alone.

        Similarities are set against the crowd, or are as they are.
        """
        for crowd in (False, True):
            pairs: dict[str, list[Pairs]] = {"all": [], "unseen": []}
            for unit in units:
                gallery, probes = (frame_of(unit, side) for side in ("gallery", "probe"))
                similarity = unit["similarity"]
                if crowd:
                    sides = unit["gallery_standing"], unit["probe_standing"]
                    similarity = np.where(
                        np.isneginf(similarity), -np.inf, set_against(similarity, *sides)
                    )
                pairs["all"].append(Pairs.of(similarity, gallery, probes))
                among = probes["identity"].unique().to_list()
                unseen = gallery["identity"].is_in(among).to_numpy()
                own = gallery.filter(unseen)
                pairs["unseen"].append(Pairs.of(similarity[unseen], own, probes))
            for impostors, parts in pairs.items():
                pooled = Pairs(
                    *(
                        np.concatenate([getattr(part, name) for part in parts])
                        for name in ("genuine", "people", "impostor")
                    )
                )
                for far in self.told["fars"]:
                    yield {
                        "measure": f"TAR at FAR {far:g}",
                        "crowd": crowd,
                        "impostors": impostors,
                        **asdict(pooled.tar(far)),
                        "impostor_pairs": len(pooled.impostor),
                    }

    def of_closed(self, units: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Give the share named rightly among bare photos, and among masked copies."""
        for enrolled in ("bare", "masked"):
            hits, people = [], []
            for unit in units:
                rows = (unit["gallery_style"] != "") == (enrolled == "masked")
                gallery, probes = (frame_of(unit, side) for side in ("gallery", "probe"))
                hits.append(closed_set(unit["similarity"][rows], gallery.filter(rows), probes))
                people.append(probes["identity"].to_numpy())
            value = rate(np.concatenate(hits), np.concatenate(people), seed=0)
            yield {"measure": f"closed set, enrolled {enrolled}"} | asdict(value)

    def of_open(self, units: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        found = [
            open_set(
                unit["similarity"],
                frame_of(unit, "gallery"),
                frame_of(unit, "probe"),
                fpir=self.told["fpir"],
            ).value
            for unit in units
        ]
        yield {
            "measure": f"identified at FPIR {self.told['fpir']:g}",
            "value": float(np.mean(found)),
            "low": min(found),
            "high": max(found),
            "n": len(found),
        }

    def unmasked(self) -> list[dict[str, Any]]:
        """Return the TAR of bare photos; no training touches what compares those."""
        photos = self.faces.built.filter(pl.col("style").is_null())
        whole = self.features.of(photos["square"])[1].numpy()
        pairs = Pairs.of(whole @ whole.T, photos, photos)
        return [
            {"measure": f"TAR at FAR {far:g}"} | asdict(pairs.tar(far)) for far in self.told["fars"]
        ]

    def occlusion(self) -> dict[str, Any]:
        """Return the share of masked copies whose map hides nose and mouth of the bare photo."""
        mesh, hidden, styles = FaceMesh(), [], []
        for (_,), rows in self.faces.built.group_by(["source"], maintain_order=True):
            photo = read_picture(self.faces.photos / rows["source"][0])
            face = most_central(mesh(photo), photo.shape[:2])
            x, y = face.points[list(HIDDEN), :2].round().astype(int).T
            inside = (x >= 0) & (y >= 0) & (x < photo.shape[1]) & (y < photo.shape[0])
            for row in rows.filter(pl.col("style").is_not_null()).iter_rows(named=True):
                shown = read_picture(self.faces.folder / row["occlusion"])[..., 0]
                hidden.append(bool((shown[y[inside], x[inside]] > 127).all()))
                styles.append(row["style"])
        frame = pl.DataFrame({"style": styles, "hidden": hidden})
        by_style = frame.group_by("style").agg(pl.col("hidden").mean()).sort("style")
        return {"all": float(np.mean(hidden)), "n": len(hidden)} | dict(by_style.iter_rows())


def frame_of(unit: dict[str, Any], side: str) -> pl.DataFrame:
    """Return ``identity`` and ``source`` of the gallery or the probes of a unit."""
    return pl.DataFrame({name: unit[f"{side}_{name}"] for name in ("identity", "source")})


def section(record: dict[str, Any] | None) -> str:
    """Return what the page says of a record."""
    if record is None:
        return "Not measured yet."
    data = record["data"]
    lines = [
        "| | held-out style | measure | value | 95 % |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| unmasked photos | | {row['measure']} | {row['value']:.3f} | "
            f"{row['low']:.3f} to {row['high']:.3f} |"
            for row in record["unmasked"]
        ),
    ]
    rows = pl.DataFrame(record["figures"], infer_schema_length=None).filter(
        pl.col("style").is_null() | (pl.col("impostors").fill_null("all") == "all")
    )
    keys = ["arm", "style", "measure", "crowd", "impostors"]
    means = rows.group_by(keys, maintain_order=True).agg(
        pl.col("value", "low", "high").mean(), pl.len().alias("seeds")
    )
    lines += [
        f"| {row['arm']} | {row['style'] or 'each in turn'} | {told(row)} | "
        f"{row['value']:.3f} | {row['low']:.3f} to {row['high']:.3f} |"
        for row in means.iter_rows(named=True)
    ]
    lines += [
        f"| {name} from scratch | {row['style'] or 'no mask'}"
        f"{'' if row['met'] else ', not met'} | named rightly, one fold | {row['value']:.3f} | "
        f"{row['low']:.3f} to {row['high']:.3f} |"
        for name, rows in record["classifiers"].items()
        for row in rows
    ]
    lost = ", ".join(f"{n} {style}" for style, n in data["copies without a face"].items())
    made = (
        f"{data['photos']:,} photos of {data['people']} people, {data['copies']:,} masked copies; no "
        f"face was found again in {lost or 'none'}: those count as rejected. Nose and mouth are "
        f"hidden in {100 * record['occlusion']['all']:.1f} % of the copies. Commit "
        f"{record['commit']}."
    )
    return "\n".join(lines) + "\n\n" + made


def told(row: dict[str, Any]) -> str:
    """Return what a figure is of, in words."""
    among = ", impostors never trained on" if row["impostors"] == "unseen" else ""
    return row["measure"] + among + (", set against a crowd" if row["crowd"] else "")


def kept() -> dict[str, Any] | None:
    """Return the committed record, None if nothing was measured with this recipe."""
    if not RECORD.exists():
        return None
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record if record["digest"] == sha256(RECIPE)[:16] else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the study of masked faces.")
    parser.add_argument("--only", default="", help="units whose name has this, such as frozen")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the people, for a try")
    chosen = parser.parse_args()
    os.nice(10)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    study = Study(recipe, RUNS if chosen.scale == 1 else RUNS / f"{chosen.scale:g}", chosen.scale)
    try:
        study.run(chosen.only)
    except ModicumError as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
    record = study.record()
    print(section(record))
    if chosen.scale == 1:
        write_json(RECORD, record)
        page = PAGE.read_text(encoding="utf-8")
        write_text(PAGE, filled(page, "study", section(record)))


if __name__ == "__main__":
    main()
