"""``modicum faces`` on two made-up people."""

import cv2
import matplotlib.cbook
import numpy as np
import pytest

from modicum.cli.app import main
from modicum.methods.faces.pictures import read_picture, write_picture


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    portrait = read_picture(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    for person, tall in (("ann", 1.0), ("bea", 1.15), ("cle", 0.9)):
        for photo in range(2):
            stretch = np.array([[1, 0, 4 * photo], [0, tall, 0]], float)
            moved = cv2.warpAffine(portrait, stretch, (512, 600), borderMode=cv2.BORDER_REFLECT)
            write_picture(folder / person / f"{photo}.png", moved[::2, ::2].copy())
    write_picture(folder / "ann" / "wall.png", np.full((90, 90, 3), 99, np.uint8))
    return folder


def test_from_photos_to_who_is_on_them(photos, tmp_path, capsys):
    masked, model, gallery = (str(tmp_path / name) for name in ("masked", "model", "gallery"))
    assert main(["faces", "build", str(photos), masked, "--styles", "surgical"]) == 0
    told = capsys.readouterr().out
    assert "6 masked copies of 6 photos" in told and "no face: ann/wall.png" in told
    assert read_picture(tmp_path / "masked" / "contact-sheet.jpg").shape[1] == 8 * 160

    few = ["--epochs", "1", "--batch-size", "4", "--stages", "head", "--hold-out", "0"]
    assert main(["faces", "fit", masked, "--out", model, *few]) == 0
    told = capsys.readouterr().out
    assert told.count("Licence, consent, misuse") == 1 and "saved in" in told

    ann = [str(photos / "ann" / "0.png"), str(photos / "ann" / "1.png")]
    assert main(["faces", "enrol", gallery, "ann", *ann]) == 2
    assert "--model" in capsys.readouterr().err
    calibrated = ["--calibrate", masked, "--far", "0.2"]
    assert main(["faces", "enrol", gallery, "ann", *ann, "--model", model, *calibrated]) == 0
    assert "2 photos of 1 people" in capsys.readouterr().out
    assert main(["faces", "identify", gallery, ann[0]]) == 0
    assert " ann " in capsys.readouterr().out
    assert main(["faces", "identify", gallery, str(photos / "ann" / "wall.png")]) == 1
    assert "no face" in capsys.readouterr().out

    assert main(["faces", "evaluate", model, masked, "--far", "0.1"]) == 0
    assert "TAR at FAR 0.1" in capsys.readouterr().out
    assert main(["faces", "evaluate", model, masked, "--crowd", masked]) == 2
    assert "a crowd is of other people" in capsys.readouterr().err
    assert main(["faces", "evaluate", model, masked, "--crowd", str(tmp_path / "nobody")]) == 2


def test_an_unknown_style_is_an_error_that_names_the_nearest(photos, tmp_path, capsys):
    assert main(["faces", "build", str(photos), str(tmp_path), "--styles", "surgicl"]) == 2
    assert "did you mean 'surgical'?" in capsys.readouterr().err
