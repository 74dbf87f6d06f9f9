"""``modicum faces``: masked copies of photos, a recognizer of masked faces, and its gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App
from rich.console import Console
from rich.table import Table

import modicum as mo
from modicum.errors import DataError, SettingError

SHEET = "contact-sheet.jpg"
STATEMENT = """\
Licence, consent, misuse
- The detector and the mesh are Apache-2.0 (MediaPipe). FaceNet's weights come from a package that
  states no licence, and from photos of people who were not asked: research only.
- Recognise those who have agreed, and only where the law allows it; in many places it is biometric
  data. Embeddings are personal data, as photos are: guard them, and delete them when asked.
- It errs, more often for some groups of people than for others, and more often with masks. No
  decision about a person may rest on it alone; no covert identification, no surveillance."""


def build(
    photos: Path,
    masked: Path,
    *,
    styles: str = "surgical,ffp2,cloth",
    copies: int = 1,
    below_nose: float = 0.0,
    seed: int = 0,
) -> None:
    """Draw masks on the photos of people, and say what failed.

    Args:
        photos: has a folder for each person, with their photos.
        masked: where masked copies, occlusion maps, the manifest and a contact sheet go; a call
            that was stopped goes on.
        styles: of masks, separated by commas.
        copies: masked copies of each style.
        below_nose: share of masks worn under the nose.
        seed: of all that is left to chance.
    """
    chosen: Any = [style.strip() for style in styles.split(",")]
    faces = mo.faces.build(
        photos, masked, styles=chosen, copies=copies, below_nose=below_nose, seed=seed
    )
    drawn = len(faces.built) - faces.built["style"].null_count()
    print(f"{drawn:,} masked copies of {faces.built['source'].n_unique():,} photos in {masked}")
    for row in faces.failures.iter_rows(named=True):
        print(f"  {row['outcome']}: {row['source']} {row['note']}".rstrip())
    lost = faces.built["square"].null_count()
    if lost:
        print(f"  no face is found again in {lost:,} masked copies; they are not learnt from")
    alike = faces.duplicates()
    if len(alike):
        print(f"  {len(alike)} photos have a near-duplicate; splits keep those together")
    if drawn:
        print(f"look at them: {mo.faces.contact_sheet(faces, masked / SHEET)}")


def fit(
    masked: Path,
    *,
    out: Path,
    hold_out: int = 5,
    seed: int = 0,
    config: Path | None = None,
    **settings: Any,
) -> None:
    """Fit a recognizer on what ``modicum faces build`` wrote, and save it.

    Args:
        masked: folder of the masked copies.
        out: folder of the model; a call that was stopped there goes on.
        hold_out: one in so many people is for validation only; 0 trains on all.
        seed: of everything random.
        config: TOML file with any of these options; those of the command line win.
    """
    print(STATEMENT)
    model = mo.faces.MaskedFaceRecognizer(**settings)
    train, validation = mo.faces.read_manifest(masked), None
    if hold_out:
        train, validation = train.folds(hold_out, by="identity", seed=seed)[0]
    try:
        model.fit(train, validation, seed=seed, folder=out / "checkpoint")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"what was learnt is kept in {out}; the same command goes on from there"
        ) from None
    model.save(out)
    print(f"saved in {out}; judge it with: modicum faces evaluate {out} MASKED")


def enrol(
    gallery: Path,
    name: str,
    photos: list[Path],
    *,
    model: Path | None = None,
    calibrate: Path | None = None,
    far: float = 1e-3,
) -> None:
    """Add photos of a person to a gallery.

    Args:
        gallery: folder of the gallery.
        name: of the person.
        photos: each with one face that is large and central.
        model: folder of the recognizer, for a gallery that is new.
        calibrate: masked copies of other people, from which thresholds are set.
        far: false-accept rate of those thresholds.
    """
    if (gallery / "config.json").exists():
        found = mo.faces.Gallery.load(gallery)
    elif model is None:
        raise SettingError(f"{gallery} is a new gallery; name its recognizer with --model")
    else:
        found = mo.faces.Gallery(mo.load(model))
    found.enrol(name, photos)
    if calibrate is not None:
        found.calibrate(mo.faces.read_manifest(calibrate), far=far)
    found.save(gallery)
    print(f"{gallery}: {len(found):,} photos of {len(found.people):,} people")
    if not found.thresholds:
        print("it has no thresholds yet; give masked copies of other people with --calibrate")


def identify(gallery: Path, photos: list[Path]) -> int:
    """Say who is on photos; 1 is the exit code if one of them could not be read.

    Args:
        gallery: folder of the gallery.
        photos: pictures with one face that is large and central.
    """
    known = mo.faces.Gallery.load(gallery)
    table = Table("photo", "name", "score", "threshold", "masks")
    failed = 0
    for photo in photos:
        try:
            row = known.identify([photo]).row(0, named=True)
        except DataError as error:
            failed += 1
            table.add_row(str(photo), str(error).partition(":")[0], "", "", "")
            continue
        shown = (f"{row[column]:.4f}" for column in ("score", "threshold"))
        table.add_row(str(photo), row["name"] or "unknown", *shown, row["state"])
    Console().print(table)
    return int(failed > 0)


def evaluate(model: Path, masked: Path, *, crowd: Path | None = None, far: float = 1e-2) -> None:
    """Judge a recognizer on photos and masked copies of people, by style of mask.

    Args:
        model: folder of the recognizer.
        masked: what ``modicum faces build`` wrote, of people it was not fitted on.
        crowd: the same of other people, against whom similarities are set where a mask is worn.
        far: false-accept rate.
    """
    others = None if crowd is None else mo.faces.read_manifest(crowd)
    faces = mo.faces.read_manifest(masked)
    found = mo.faces.judge(mo.load(model), faces, crowd=others, fars=[far])
    table = Table("gallery", "probe", "style", "measure", "value", "95 %", "n")
    for row in found.iter_rows(named=True):
        table.add_row(
            row["gallery"],
            row["probe"],
            row["style"] or "all",
            row["measure"],
            f"{row['value']:.4f}",
            f"{row['low']:.4f} to {row['high']:.4f}",
            f"{row['n']:,}",
        )
    Console().print(table)


def __getattr__(name: str) -> Any:
    """Make ``modicum.cli.faces:fit_command`` an import path: its flags need torch."""
    if name != "fit_command":
        raise AttributeError(f"module 'modicum.cli.faces' has no attribute {name!r}")
    from modicum.cli.methods import with_settings_of

    return with_settings_of(mo.faces.MaskedFaceRecognizer, fit)


faces = App(name="faces", help="Recognise people with and without a mask.")
for verb in (build, enrol, evaluate, identify):
    faces.command(verb)
faces.command(
    "modicum.cli.faces:fit_command",
    name="fit",
    help="Fit a recognizer on what `modicum faces build` wrote, and save it.",
)
