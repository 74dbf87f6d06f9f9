"""A training that was cut off goes on and ends as an unbroken one does, bit for bit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from modicum.errors import BundleError
from modicum.training import checkpoint, loop
from modicum.training.progress import ProgressBar

from . import recipe


@pytest.fixture(scope="module")
def unbroken():
    torch.set_num_threads(1)
    data = recipe.parts()
    return recipe.model().fit(data.train, data.validation, progress=False)


def resumed(folder: Path, **settings):
    data = recipe.parts()
    return recipe.model(**settings).fit(data.train, data.validation, folder=folder, progress=False)


def assert_same(one, other) -> None:
    a, b = one.fitted_network.state_dict(), other.fitted_network.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    unseconded = [[r | {"seconds": 0} for r in model.training_log] for model in (one, other)]
    assert unseconded[0] == unseconded[1]


def standing_of(folder: Path) -> checkpoint.Progress:
    from safetensors import safe_open

    # A copy: safe_open opens a path twice, and the file may be replaced in between.
    seen = shutil.copyfile(folder / checkpoint.NAME, folder / "seen")
    with safe_open(seen, framework="pt") as file:
        return checkpoint.Progress(**checkpoint.json.loads(file.metadata()["progress"]))


def test_killed_in_the_middle_of_an_epoch(unbroken, tmp_path):
    script = Path(recipe.__file__)
    child = subprocess.Popen([sys.executable, script, "hang", tmp_path])
    try:
        for _ in range(600):
            if (tmp_path / checkpoint.NAME).exists():
                standing = standing_of(tmp_path)
                if standing.steps == recipe.STEPS_TO_LIVE:
                    break
            assert child.poll() is None, "the training ended by itself"
            time.sleep(0.1)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert standing.epoch > 0 and standing.step > 0, "not in the middle of a later epoch"
    assert_same(resumed(tmp_path), unbroken)


def interrupt_at(monkeypatch, wanted: int, owner, name: str) -> None:
    """Send a real Ctrl-C to this process the ``wanted``-th time that ``owner.name`` is called."""
    original, calls = getattr(owner, name), []

    def interrupted(*arguments, **named):
        calls.append(1)
        result = original(*arguments, **named)
        if len(calls) == wanted:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (ProgressBar, "advance"),
        (loop.nn.utils, "clip_grad_norm_"),
        (torch.optim.AdamW, "step"),
        (loop, "next_item_loss_of"),
    ],
    ids=["between batches", "before the step", "after the step", "in the forward pass"],
)
def test_interrupted_by_the_keyboard(unbroken, tmp_path, monkeypatch, owner, name):
    if name == "next_item_loss_of":
        from modicum.methods.sequential import sasrec as owner

        name = "next_item_loss"
    with monkeypatch.context() as patched:
        interrupt_at(patched, 17, owner, name)
        with pytest.raises(KeyboardInterrupt):
            resumed(tmp_path)
    assert standing_of(tmp_path).steps == 17
    assert_same(resumed(tmp_path), unbroken)


def test_interrupted_in_validation(unbroken, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        interrupt_at(patched, 2, recipe.SASRec, "rank")
        with pytest.raises(KeyboardInterrupt):
            resumed(tmp_path)
    assert_same(resumed(tmp_path), unbroken)


def test_a_finished_training_is_not_repeated(unbroken, tmp_path, monkeypatch):
    resumed(tmp_path)
    monkeypatch.setattr(loop, "_step", None)
    assert_same(resumed(tmp_path), unbroken)


def test_the_folder_holds_one_file(tmp_path):
    resumed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.NAME]
    (tmp_path / checkpoint.NAME).unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"learning_rate": 2e-2}, {"dim": 16}, {"epochs": 5}], ids=str)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change):
    resumed(tmp_path)
    with pytest.raises(BundleError, match="other settings"):
        resumed(tmp_path, **change)


def test_a_checkpoint_of_another_seed_or_other_data_is_refused(tmp_path):
    resumed(tmp_path)
    data = recipe.parts()
    with pytest.raises(BundleError, match="seed"):
        recipe.model().fit(data.train, data.validation, seed=1, folder=tmp_path, progress=False)
    fewer = data.train.keep(data.train.event_users > 0)
    with pytest.raises(BundleError, match="data"):
        recipe.model().fit(fewer, data.validation, folder=tmp_path, progress=False)


def test_a_checkpoint_that_other_queries_validated_is_refused(tmp_path):
    resumed(tmp_path)
    data = recipe.parts()
    fewer = data.validation.take(slice(0, -1))
    kept = {"folder": tmp_path, "progress": False}
    for validation, settings in (
        (fewer, {}),
        (None, {}),
        (data.validation, {"exclude_seen": False}),
    ):
        with pytest.raises(BundleError, match="data"):
            recipe.model().fit(data.train, validation, **settings, **kept)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00" * 64], ids=["empty", "short", "zeros"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    (tmp_path / checkpoint.NAME).write_bytes(damage)
    with pytest.raises(BundleError, match="damaged"):
        resumed(tmp_path)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    resumed(tmp_path)
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match="delete it"):
        resumed(tmp_path)
