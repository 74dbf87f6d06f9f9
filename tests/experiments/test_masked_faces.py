"""The study of masked faces: its recipe, its sums, and that the page shows what is recorded."""

import tomllib

import masked_faces
import numpy as np
import polars as pl
import pytest
from records import filled

from modicum.methods.faces import MaskedFaceRecognizer, MaskedFaces
from modicum.methods.faces.faceclassifier import FaceClassifier
from modicum.methods.faces.manifest import BUILT
from modicum.methods.faces.masks import STYLES


@pytest.fixture
def study(tmp_path):
    recipe = tomllib.loads(masked_faces.RECIPE.read_text(encoding="utf-8"))
    return masked_faces.Study(recipe, tmp_path, 1.0)


def test_every_arm_can_be_fitted_and_is_asked_for_every_style(study):
    units = list(study.units())
    assert len({unit.name for unit in units}) == len(units)
    for arm, settings in study.recipe["arms"].items():
        MaskedFaceRecognizer(**settings).check()
        assert {unit.style for unit in units if unit.arm == arm} == set(STYLES)
    for settings in study.recipe["classifiers"].values():
        FaceClassifier(**settings).check()
    assert set(study.recipe["build"]["styles"]) == set(STYLES)


def test_a_unit_of_other_settings_is_another_unit(study):
    unit = next(study.units())
    before = study.place(unit)
    study.recipe["arms"][unit.arm]["epochs"] = 77
    assert study.place(unit) != before


@pytest.fixture
def everyone(study, tmp_path):
    """Ten made-up people with five photos and a copy in each style."""
    rows = [
        {"identity": f"p{person}", "source": f"p{person}/{photo}", "style": style}
        for person in range(10)
        for photo in range(5)
        for style in (None, *STYLES)
    ]
    frame = pl.DataFrame(rows).with_columns(
        pl.lit(BUILT).alias("outcome"),
        square=pl.col("source") + pl.col("style").fill_null(""),
        print=pl.col("source").map_elements(
            lambda source: np.random.default_rng([*source.encode()]).bytes(32), pl.Binary
        ),
    )
    study.faces = MaskedFaces(tmp_path, tmp_path, frame)
    study.told["crowd"] = 3
    return study


@pytest.mark.parametrize("fold", [0, 4])
def test_who_is_of_the_crowd_is_neither_trained_on_nor_enrolled_nor_asked_for(everyone, fold):
    unit = masked_faces.Unit("people", "frozen", 0, fold, "cloth")
    train, gallery, probes, crowd = everyone.parts(unit)
    people = {
        name: set(rows["identity"])
        for name, rows in (
            ("train", train.frame),
            ("gallery", gallery),
            ("probes", probes),
            ("crowd", crowd),
        )
    }
    assert len(people["crowd"]) == 3 and not people["crowd"] & people["gallery"]
    assert people["gallery"] == people["train"] | people["probes"]
    assert not people["train"] & people["probes"] and len(people["probes"]) == 2
    assert set(probes["style"]) == {"cloth"} and set(gallery["style"]) == {None}
    for rows in (train.frame, crowd):
        assert set(rows["style"]) == {None, "surgical", "ffp2"}


def test_closed_sets_are_of_photos_that_are_not_enrolled(everyone):
    unit = masked_faces.Unit("photos", "frozen", 0, 1, "ffp2")
    train, gallery, probes, crowd = everyone.parts(unit)
    assert len(crowd) == 0 and not set(gallery["source"]) & set(probes["source"])
    assert set(gallery["style"]) == {None, "surgical", "cloth"} and gallery.equals(train.frame)
    assert set(gallery["identity"]) == set(probes["identity"])


def test_the_page_shows_the_record_and_nothing_else():
    page = masked_faces.PAGE.read_text(encoding="utf-8")
    assert filled(page, "study", masked_faces.section(masked_faces.kept())) == page


def unit(similarity, probes, standing=(0.0, 0.0, 0.0)):
    """Return a kept unit whose gallery is one photo each of a, b and c."""
    names = np.array(["a", "b", "c"])
    told = {"similarity": np.array(similarity, np.float32)}
    for side, who in (("gallery", names), ("probe", np.array(probes))):
        told |= {f"{side}_identity": who, f"{side}_style": np.full(len(who), "")}
        told[f"{side}_source"] = np.array([f"{side}/{at}" for at in range(len(who))])
    told["gallery_standing"] = np.array(standing)
    told["probe_standing"] = np.zeros(len(probes))
    return told


def test_pairs_are_pooled_over_folds_and_unseen_impostors_are_of_test_people_alone(study):
    study.told["fars"] = [0.5]
    units = [
        unit([[0.9], [0.1], [0.5]], ["a"], (0.0, 0.0, 1.0)),
        unit([[0.2, 0.3], [0.4, 0.1], [0.0, 0.8]], ["b", "c"]),
    ]
    rows = list(study.of_tar(units))
    assert [(row["crowd"], row["impostors"]) for row in rows] == [
        (False, "all"),
        (False, "unseen"),
        (True, "all"),
        (True, "unseen"),
    ]
    assert [row["impostor_pairs"] for row in rows] == [6, 2, 6, 2]
    assert {row["n"] for row in rows} == {3}
    assert rows[0]["threshold"] == pytest.approx(0.2) and rows[0]["value"] == 1
    assert rows[2]["threshold"] == pytest.approx(0.1)  # 0.5 of c counts 0 against the crowd


def test_closed_set_asks_who_is_nearest(study):
    asked = unit([[0.9, 0.9], [0.1, 0.2], [0.5, 0.3]], ["a", "b"])
    asked["gallery_style"] = np.array(["", "", "cloth"])
    bare, masked = study.of_closed([asked])
    assert bare["measure"] == "closed set, enrolled bare"
    assert (bare["value"], bare["n"], masked["value"]) == (0.5, 2, 0)
