"""``modicum fit METHOD newer.csv --from RUN``."""

import json
from pathlib import Path

import pytest

import modicum as mo
from modicum.cli.app import main

ROLES = ["--user", "uid", "--item", "sku", "--time", "ts"]
SMALL = ["--dim", "8", "--layers", "1", "--heads", "1", "--epochs", "1", "--dropout", "0.1"]


def fit(events: Path, out: Path, *more: str, method: str = "sasrec") -> int:
    return main(["fit", method, str(events), *ROLES, "--out", str(out), *more])


@pytest.fixture(scope="module")
def run(events, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("warm") / "old"
    assert fit(events, out, *SMALL) == 0
    return out


@pytest.fixture
def newer(events, tmp_path) -> Path:
    path = tmp_path / "newer.csv"
    more = [f"{900 + n},sku-new{n % 2},{1_699_000_000 + n}\n" for n in range(40)]
    path.write_text(events.read_text() + "".join(more))
    return path


def test_a_run_begins_with_an_older_one_and_says_so(run, newer, tmp_path, capsys):
    out = tmp_path / "new"
    assert fit(newer, out, "--from", str(run), "--epochs", "2") == 0
    old, new = mo.load(run), mo.load(out)
    assert new.settings() == old.settings() | {"epochs": 2}
    assert new.vocabulary.ids[: len(old.vocabulary)].equals(old.vocabulary.ids)
    assert {"sku-new0", "sku-new1"} <= set(new.vocabulary.ids)
    begun = json.loads((out / "run.json").read_text())["start"]
    assert begun == {"folder": str(run), "sha256": new.lineage["start"]["weights, SHA-256"]}
    card = (out / "card.md").read_text()
    assert begun["sha256"] in card and "test from" in card
    assert main(["evaluate", str(out)]) == 0
    assert fit(newer, out, "--epochs", "2") == 2
    assert "start: " in capsys.readouterr().err


def test_what_must_agree_is_named_by_its_flag(run, newer, tmp_path, capsys):
    assert fit(newer, tmp_path / "new", "--from", str(run), "--dim", "4") == 2
    assert "--dim 4, where the model to start from has 8" in capsys.readouterr().err


def test_another_method_and_no_model_are_refused(run, newer, tmp_path, capsys):
    assert fit(newer, tmp_path / "new", "--from", str(run), method="gru4rec") == 2
    assert "is a SASRec, and this is to be a GRU4Rec" in capsys.readouterr().err
    assert fit(newer, tmp_path / "new", "--from", str(tmp_path)) == 2
    assert "is not a saved model" in capsys.readouterr().err
