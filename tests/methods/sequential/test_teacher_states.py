"""Teacher states that are kept are those of the live teacher, however they came to disk."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import modicum
from modicum.data.histories import Histories
from modicum.data.simulate import simulate_markov
from modicum.errors import ResourceError, SettingError
from modicum.methods.sequential import teacher_states
from modicum.methods.sequential.item_decoder import ItemDecoder
from modicum.methods.sequential.teacher_states import TeacherStates
from modicum.training.batches import Windows
from modicum.training.processes import Processes

TRAIN = Histories.from_log(simulate_markov(30, 20, events_per_user=14, seed=0).log)
ENDS = [1, 3]


@pytest.fixture(scope="module")
def teacher() -> ItemDecoder:
    settings = {"dim": 8, "length": 8, "epochs": 1, "batch_size": 16, "device": "cpu"}
    backbone = modicum.Decoder(layers=3, width=16, heads=2)
    model = modicum.LLMRec(backbone=backbone, **settings).fit(TRAIN, progress=False)
    network = model.fitted_network
    assert isinstance(network, ItemDecoder)
    return network


def windows(*, last_only: bool = False, length: int = 8) -> Windows:
    made = Windows(
        TRAIN, length=length, batch_size=16, every=True, seed=0, processes=Processes(0, 1)
    )
    made.last_only = last_only
    return made


def taught(
    teacher: ItemDecoder, folder: Path | None = None, top: int = 0, *, say=print, **settings
) -> TeacherStates:
    return TeacherStates(windows(**settings), teacher, ENDS, top, folder, say)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("top", [0, 5])
def test_kept_states_are_those_of_the_live_teacher(teacher, tmp_path, on_disk, last_only, top):
    kept = windows(last_only=last_only)
    kept.extra = taught(teacher, tmp_path if on_disk else None, top, last_only=last_only).of
    for batch, plain in zip(kept.epoch(1), windows(last_only=last_only).epoch(1), strict=True):
        assert torch.equal(batch.items, plain.items) and torch.equal(batch.targets, plain.targets)
        live = teacher.lesson(plain, ENDS, top)
        assert batch.extra.keys() == live.keys()
        assert batch.extra["states"].dtype == torch.float16
        for name in set(live) - {"top"}:
            found = batch.extra[name].float()
            torch.testing.assert_close(found, live[name], atol=1e-3, rtol=1e-3)
        if top:
            assert torch.equal(batch.extra["top"], live["top"])
        if last_only:
            assert len(batch.extra["states"]) == len(batch.items)


def count_lessons(monkeypatch, fail_at: int | None = None) -> list[int]:
    """Count the windows of each lesson; raise in the ``fail_at``-th."""
    sizes: list[int] = []
    lesson = ItemDecoder.lesson

    def counted(self, batch, ends, top_logits):
        if len(sizes) == fail_at:
            raise KeyboardInterrupt
        sizes.append(len(batch.items))
        return lesson(self, batch, ends, top_logits)

    monkeypatch.setattr(ItemDecoder, "lesson", counted)
    monkeypatch.setattr(teacher_states, "WINDOWS_PER_PASS", 7)
    return sizes


def test_a_computation_that_was_cut_off_goes_on(teacher, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        everything = count_lessons(patched)
        whole = taught(teacher, tmp_path / "whole", top=3)
    with monkeypatch.context() as patched:
        before = count_lessons(patched, fail_at=3)
        with pytest.raises(KeyboardInterrupt):
            taught(teacher, tmp_path / "broken", top=3)
    with monkeypatch.context() as patched:
        after = count_lessons(patched)
        resumed = taught(teacher, tmp_path / "broken", top=3)
    assert len(before) == 3 and before + after == everything
    assert sum(everything) == windows().num_windows
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], array)
    assert sorted(p.name for p in (tmp_path / "broken").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


def test_a_finished_computation_is_not_repeated(teacher, tmp_path, monkeypatch):
    first = taught(teacher, tmp_path)
    sizes = count_lessons(monkeypatch)
    again = taught(teacher, tmp_path)
    assert sizes == []
    np.testing.assert_array_equal(first.arrays["states"], again.arrays["states"])


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damaged_files_are_made_anew(teacher, tmp_path, monkeypatch, damage):
    first = {name: array.copy() for name, array in taught(teacher, tmp_path, top=3).arrays.items()}
    (file,) = tmp_path.glob("*.states.npy")
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[:2000])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    sizes = count_lessons(monkeypatch)
    again = taught(teacher, tmp_path, top=3)
    assert sum(sizes) == windows().num_windows
    for name, array in first.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_what_was_damaged_before_a_resume_is_not_kept(teacher, tmp_path, monkeypatch):
    whole = taught(teacher, tmp_path / "whole").arrays["states"]
    with monkeypatch.context() as patched:
        count_lessons(patched, fail_at=3)
        with pytest.raises(KeyboardInterrupt):
            taught(teacher, tmp_path / "broken")
    (file,) = (tmp_path / "broken").glob("*.states.npy")
    states = np.load(file, mmap_mode="r+")
    states[np.flatnonzero(np.abs(states).sum((1, 2)) > 0)[0]] = 0
    states.flush()
    np.testing.assert_array_equal(taught(teacher, tmp_path / "broken").arrays["states"], whole)


@pytest.mark.parametrize(
    "left", ["30", "{}", '{"windows": 30', "[]", '{"windows": [], "sha256": 1}']
)
def test_a_damaged_ledger_counts_for_nothing(teacher, tmp_path, monkeypatch, left):
    taught(teacher, tmp_path)
    (ledger,) = tmp_path.glob("*.json")
    ledger.write_text(left)
    sizes = count_lessons(monkeypatch)
    taught(teacher, tmp_path)
    assert sum(sizes) == windows().num_windows


@pytest.mark.parametrize("on_disk", [False, True])
def test_states_that_float16_cannot_hold_are_refused(teacher, tmp_path, monkeypatch, on_disk):
    lesson = ItemDecoder.lesson

    def large(self, *asked):
        return {name: 1e12 * array.float() for name, array in lesson(self, *asked).items()}

    monkeypatch.setattr(ItemDecoder, "lesson", large)
    with pytest.raises(SettingError, match="too large for float16"):
        taught(teacher, tmp_path if on_disk else None)


def test_other_weights_windows_or_questions_have_files_of_their_own(teacher, tmp_path):
    def files() -> int:
        return len(list(tmp_path.glob("*.json")))

    taught(teacher, tmp_path)
    assert files() == 1
    taught(teacher, tmp_path, length=5)
    taught(teacher, tmp_path, last_only=True)
    taught(teacher, tmp_path, top=2)
    TeacherStates(windows(), teacher, [3], 0, tmp_path, print)
    assert files() == 5
    with torch.no_grad():
        teacher.out.bias += 1e-3
    taught(teacher, tmp_path)
    assert files() == 6
    assert all(json.loads(p.read_text())["windows"] > 0 for p in tmp_path.glob("*.json"))


def test_the_size_is_said_before_it_is_taken(teacher, monkeypatch):
    told: list[str] = []
    kept = taught(teacher, say=told.append)
    positions = windows().num_targets
    said = told[0]
    assert f"{positions:,} positions" in said and "MiB in memory" in said
    assert kept.arrays["states"].nbytes == positions * len(ENDS) * 16 * 2
    monkeypatch.setattr(teacher_states.memory, "available_bytes", lambda device: 10)
    with pytest.raises(ResourceError, match="teacher's states"):
        taught(teacher)


def test_a_full_disk_is_refused_before_anything_is_written(teacher, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(teacher_states.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(ResourceError, match="free"):
        taught(teacher, tmp_path)
    assert not list(tmp_path.iterdir())
