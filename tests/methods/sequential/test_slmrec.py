"""SLMRec: what the student takes from its teacher, and that it takes anything at all."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import modicum
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_markov
from modicum.errors import BundleError, DataError, NotFittedError, SettingError
from modicum.methods import recommender
from modicum.methods.sequential.llmrec import LLMRec
from modicum.methods.sequential.slmrec import (
    SLMRec,
    block_ends,
    for_vocabulary,
    logit_divergence,
    state_terms,
)
from modicum.training.batches import Batch
from modicum.training.progress import ProgressBar

LOG = simulate_markov(30, 20, events_per_user=9, seed=0).log
TRAIN = Histories.from_log(LOG)
SMALL = {"dim": 8, "length": 8, "batch_size": 16, "dropout": 0.0, "device": "cpu"}
TRAINING = {"epochs": 2, "learning_rate": 1e-2, "warmup_steps": 1, "head": "float32"}
DEPTH, WIDTH = 4, 16


def fit_teacher(log: EventLog | Histories = TRAIN, **settings) -> LLMRec:
    backbone = modicum.Decoder(layers=DEPTH, width=WIDTH, heads=2)
    return LLMRec(backbone=backbone, **SMALL | TRAINING | settings).fit(log, progress=False)


@pytest.fixture(scope="module")
def teacher() -> LLMRec:
    return fit_teacher()


def make(teacher: LLMRec | Path | str, **settings) -> SLMRec:
    return SLMRec(teacher=teacher, **SMALL | TRAINING | {"layers": 2, "blocks": 2} | settings)


def test_without_a_teacher_one_is_trained_as_the_student(monkeypatch):
    chosen = {"epochs": 3, "batch_size": 7, "learning_rate": 0.02, "length": 9, "dropout": 0.3}
    chosen |= {"positions": "last", "recompute": True, "precision": "float32"}
    found = []

    def catch(network, windows, settings, **_):
        found.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(recommender, "run_training", catch)
    with pytest.raises(KeyboardInterrupt):
        SLMRec(**chosen).fit(TRAIN, progress=False)
    (teacher,) = found
    assert isinstance(teacher, LLMRec)
    assert {name: getattr(teacher, name) for name in chosen} == chosen


def test_a_kept_teacher_that_was_trained_otherwise_is_not_taken_silently(tmp_path):
    def student(**settings) -> SLMRec:
        small = SMALL | TRAINING | {"epochs": 1, "layers": 1, "blocks": 1}
        return SLMRec(**small | settings).fit(TRAIN, folder=tmp_path, progress=False)

    student()
    (tmp_path / "checkpoint.safetensors").unlink()
    student(layers=2)  # what is the student's own asks for no other teacher
    (tmp_path / "checkpoint.safetensors").unlink()
    with pytest.raises(
        SettingError, match=r"with other learning_rate, dropout; delete it, or keep"
    ):
        student(learning_rate=0.02, dropout=0.2)


def met(model: SLMRec, monkeypatch, train: Histories = TRAIN) -> tuple:
    """Return the student's network and its windows as training would get them."""
    found = []

    def catch(network, windows, settings, **_):
        student = copy.deepcopy(network)
        found.extend([student.train(), windows])
        return []

    with monkeypatch.context() as patched:
        patched.setattr(recommender, "run_training", catch)
        model.fit(train, progress=False)
    return tuple(found)


def first_batch(windows) -> Batch:
    return next(windows.epoch(0))


def gradient_of(student, batch: Batch) -> torch.Tensor:
    """Return the gradient of the decoder's weights as one vector."""
    student.zero_grad()
    torch.stack(list(student.losses(batch).values())).sum().backward()
    return torch.cat([p.grad.flatten() for p in student.decoder.parameters() if p.grad is not None])


# blocks and layers


@given(st.integers(1, 64), st.integers(1, 64))
def test_blocks_are_never_empty_and_end_with_the_last_layer(layers, blocks):
    if blocks > layers:
        with pytest.raises(SettingError, match="cannot be cut"):
            block_ends(layers, blocks)
        return
    ends = block_ends(layers, blocks)
    sizes = [after - before for before, after in zip([0, *ends], ends, strict=False)]
    assert len(ends) == blocks and ends[-1] == layers
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


def test_more_blocks_than_layers_are_refused(teacher):
    for wrong, word in (({"blocks": 3}, "blocks"), ({"layers": 5, "blocks": 2}, "teacher's 4")):
        with pytest.raises(SettingError, match=word):
            make(teacher, **wrong).fit(TRAIN, progress=False)


@pytest.mark.parametrize("distillation", ["offline", "online"])
def test_a_teacher_that_has_learnt_nothing_is_refused(distillation):
    with pytest.raises(NotFittedError, match="LLMRec is not fitted"):
        make(LLMRec(), distillation=distillation).fit(TRAIN, progress=False)


@pytest.fixture(scope="module")
def uneven(teacher) -> LLMRec:
    """A teacher of which only the second and third layer do much."""
    model = copy.deepcopy(teacher)
    with torch.no_grad():
        for at, layer in enumerate(model.fitted_network.decoder.layers):
            for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
                linear.weight *= 30 if at in (1, 2) else 0.01
    return model


@pytest.mark.parametrize(
    ("keep", "taken"),
    [("first", [0, 1]), ("last", [2, 3]), ("spaced", [1, 3]), ("influence", [1, 2])],
)
def test_the_student_starts_from_copies_of_chosen_layers(uneven, keep, taken, monkeypatch):
    student, _ = met(make(uneven, keep=keep), monkeypatch)
    theirs = uneven.fitted_network
    for own, at in zip(student.decoder.layers, taken, strict=True):
        for name, tensor in theirs.decoder.layers[at].state_dict().items():
            assert torch.equal(own.state_dict()[name], tensor)
    for part in ("into", "out", "items"):
        for name, tensor in getattr(theirs, part).state_dict().items():
            assert torch.equal(getattr(student, part).state_dict()[name], tensor)


def test_a_random_start_takes_nothing(teacher, monkeypatch):
    student, _ = met(make(teacher, keep="none"), monkeypatch)
    theirs = teacher.fitted_network.state_dict()
    shared = [
        name
        for name, tensor in student.state_dict().items()
        if name in theirs and tensor.ndim > 1 and torch.equal(tensor, theirs[name])
    ]
    assert shared == []


# the terms of the loss


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(teacher, monkeypatch):
    same = make(teacher, layers=DEPTH, blocks=DEPTH, distillation="online", logits=1.0)
    student, windows = met(same, monkeypatch)
    batch = first_batch(windows)
    terms = student.losses(batch)
    for name in ("cosine", "norm", "logits"):
        assert float(terms[name].detach()) == pytest.approx(0.0, abs=1e-5)
    assert torch.equal(terms["softmax"], terms["teacher"])
    assert torch.isfinite(gradient_of(student, batch)).all()


@pytest.mark.parametrize("distillation", ["offline", "online"])
@pytest.mark.parametrize("weight", ["cosine", "norm", "supervision", "logits"])
def test_each_weight_changes_the_gradient(teacher, monkeypatch, distillation, weight):
    nothing = {"cosine": 0.0, "norm": 0.0, "supervision": 0.0, "logits": 0.0}
    found = []
    for value in (0.0, 0.5, 1.0):
        model = make(teacher, distillation=distillation, **nothing | {weight: value})
        student, windows = met(model, monkeypatch)
        terms = student.losses(first_batch(windows))
        assert (weight in terms) == (value > 0)
        found.append(
            (
                float(terms[weight].detach()) if value else 0.0,
                gradient_of(student, first_batch(windows)),
            )
        )
    (_, without), (half, some), (full, more) = found
    assert half > 0 and full == pytest.approx(2 * half, rel=1e-5)
    assert float((some - without).norm()) > 1e-6
    torch.testing.assert_close(more - without, 2 * (some - without), atol=1e-6, rtol=1e-3)


def test_without_distillation_there_is_the_softmax_alone(teacher, monkeypatch):
    student, windows = met(make(teacher, distillation="none"), monkeypatch)
    batch = first_batch(windows)
    assert student.losses(batch).keys() == {"softmax"}
    assert batch.extra == {} and student.teacher is None and len(student.heads) == 0


def test_a_batch_without_the_teacher_is_an_error(teacher, monkeypatch):
    student, windows = met(make(teacher), monkeypatch)
    batch = first_batch(windows)
    with pytest.raises(DataError, match="without the teacher's states"):
        student.losses(Batch(batch.items, batch.targets))


def test_state_terms_by_hand():
    own = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])  # one position, two blocks
    taught = torch.tensor([[[0.0, 4.0], [0.0, 1.0]]])
    terms = state_terms(own, taught, cosine=2.0, norm=0.1)
    assert float(terms["cosine"]) == pytest.approx(2.0 * (1 + 0) / 2)
    assert float(terms["norm"]) == pytest.approx(0.1 * (5 + 1) / 2)


def test_the_divergence_of_all_logits_is_that_of_the_softmaxes():
    random = torch.Generator().manual_seed(0)
    states, items = torch.randn(6, 4, generator=random), torch.randn(9, 4, generator=random)
    theirs = torch.randn(6, 9, generator=random)
    top_logits, at = theirs.sort(dim=1, descending=True)
    found = logit_divergence(states, items, at + 1, top_logits, temperature=3.0)
    p, q = (theirs / 3).softmax(1), (states @ items.T / 3).softmax(1)
    assert float(found) == pytest.approx(float((p * (p / q).log()).sum(1).mean()) * 9, rel=1e-4)
    own_top, own_at = (states @ items.T).sort(dim=1, descending=True)
    zero = logit_divergence(states, items, own_at + 1, own_top, temperature=3.0)
    assert float(zero) == pytest.approx(0.0, abs=1e-5)


def test_inner_blocks_have_heads_of_their_own(teacher, monkeypatch):
    student, windows = met(make(teacher, layers=3, blocks=3), monkeypatch)
    batch = first_batch(windows)
    assert len(student.heads) == 2
    there = batch.targets > 0
    _, blocks = student.block_states(batch, student.item_vectors(), student.ends)
    expected = [
        F.cross_entropy(head(block[there]) @ student.items.weight.T, batch.targets[there] - 1)
        for head, block in zip(student.heads, blocks, strict=False)
    ]
    found = student.losses(batch)["supervision"]
    torch.testing.assert_close(found, torch.stack(expected).mean(), atol=1e-5, rtol=1e-5)


def test_more_logits_than_items_are_all_of_them(teacher, monkeypatch):
    for distillation in ("offline", "online"):
        model = make(teacher, distillation=distillation, logits=1.0, top_logits=500)
        student, windows = met(model, monkeypatch)
        assert torch.isfinite(student.losses(first_batch(windows))["logits"])


# the teacher


def weights(model) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in model.fitted_network.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("distillation", ["offline", "online", "none"])
def test_the_teacher_that_was_given_is_left_as_it_was(teacher, distillation):
    before = weights(teacher)
    make(teacher, distillation=distillation).fit(TRAIN, progress=False)
    assert same(weights(teacher), before)
    assert not teacher.fitted_network.training
    assert all(p.requires_grad for p in teacher.fitted_network.parameters())


def test_online_both_learn(teacher, monkeypatch):
    student, windows = met(make(teacher, distillation="online"), monkeypatch)
    batch = first_batch(windows)
    torch.stack(list(student.losses(batch).values())).sum().backward()
    silent = [n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    alone = copy.deepcopy(teacher.fitted_network)
    alone.losses(batch)["softmax"].backward()
    for one, other in zip(student.teacher.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_a_teacher_of_another_numbering_is_mapped_by_id(teacher, monkeypatch):
    turned = EventLog(LOG.frame.reverse().drop("time").lazy(), source="turned")
    other = Histories.from_log(turned)
    assert other.vocabulary.ids.to_list() != TRAIN.vocabulary.ids.to_list()
    student, windows = met(make(teacher), monkeypatch, train=other)
    own_rows = torch.from_numpy(teacher.vocabulary.rows(other.vocabulary.ids))
    assert torch.equal(student.items.weight, teacher.fitted_network.items.weight[own_rows - 1])
    batch = first_batch(windows)
    numbers = torch.cat([torch.zeros(1, dtype=torch.int64), own_rows])
    asked = Batch(numbers[batch.items], numbers[batch.targets])
    expected = teacher.fitted_network.lesson(asked, [2, 4], 0)["states"]
    torch.testing.assert_close(batch.extra["states"].float(), expected, atol=2e-3, rtol=2e-3)


def test_a_teacher_may_know_more_but_not_less(teacher):
    few = TRAIN.keep(TRAIN.item_rows <= 15)
    fewer = Histories.from_log(
        EventLog(LOG.scan.filter(LOG.frame["item"].is_in(TRAIN.vocabulary.ids.head(15))), "few")
    )
    assert few.num_events == fewer.num_events
    make(teacher).fit(fewer, progress=False)
    ignorant = fit_teacher(fewer)
    for distillation in ("offline", "online"):
        with pytest.raises(DataError, match="does not know 5 of the training items"):
            make(ignorant, distillation=distillation).fit(TRAIN, progress=False)
    assert len(for_vocabulary(teacher, fewer.vocabulary).items.weight) == 15


def test_the_teacher_may_be_a_folder(teacher, tmp_path):
    folder = teacher.save(tmp_path / "teacher")
    by_folder = make(str(folder)).fit(TRAIN, progress=False)
    assert same(weights(by_folder), weights(make(teacher).fit(TRAIN, progress=False)))


def test_only_an_llmrec_can_teach(tmp_path):
    other = modicum.SASRec(**SMALL | TRAINING).fit(TRAIN, progress=False)
    with pytest.raises(SettingError, match="must be an LLMRec, not SASRec"):
        make(other).fit(TRAIN, progress=False)
    with pytest.raises(SettingError, match="must be an LLMRec, not SASRec"):
        make(other.save(tmp_path / "sasrec")).fit(TRAIN, progress=False)


@pytest.mark.parametrize("distillation", ["offline", "online"])
def test_a_saved_student_stands_alone(teacher, tmp_path, distillation):
    taught = copy.deepcopy(teacher)
    at = taught.save(tmp_path / "teacher")
    model = make(at, distillation=distillation).fit(TRAIN, progress=False)
    folder = model.save(tmp_path / "student")
    for path in at.iterdir():
        path.unlink()
    loaded = modicum.load(folder)
    assert loaded.settings()["teacher"] is None
    assert loaded.recommend([[1, 2]]).equals(model.recommend([[1, 2]]))
    names = set(loaded.fitted_network.state_dict())
    assert not any(name.startswith(("heads", "teacher")) for name in names)
    assert loaded.lineage["teacher"]["layers"] == 4
    expected = sum(p.numel() for p in teacher.fitted_network.decoder.layers[:2].parameters())
    layers = loaded.fitted_network.decoder.layers
    assert sum(p.numel() for p in layers.parameters()) == expected


# training


def cut_off(monkeypatch, steps: int) -> None:
    advance, calls = ProgressBar.advance, []

    def interrupted(bar, standing):
        calls.append(1)
        if len(calls) == steps:
            raise KeyboardInterrupt
        advance(bar, standing)

    monkeypatch.setattr(ProgressBar, "advance", interrupted)


@pytest.mark.parametrize("distillation", ["offline", "online", "none"])
def test_a_resumed_student_ends_as_an_unbroken_one(teacher, tmp_path, monkeypatch, distillation):
    settings = {"distillation": distillation, "dropout": 0.1, "keep": "influence"}
    unbroken = make(teacher, **settings).fit(TRAIN, progress=False)
    with monkeypatch.context() as patched:
        cut_off(patched, steps=3)
        with pytest.raises(KeyboardInterrupt):
            make(teacher, **settings).fit(TRAIN, folder=tmp_path, progress=False)
    resumed = make(teacher, **settings).fit(TRAIN, folder=tmp_path, progress=False)
    assert same(weights(resumed), weights(unbroken))


def test_a_checkpoint_of_another_teacher_is_refused(teacher, tmp_path):
    make(teacher).fit(TRAIN, folder=tmp_path, progress=False)
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        next(other.fitted_network.parameters()).add_(1e-3)
    with pytest.raises(BundleError, match="other settings"):
        make(other).fit(TRAIN, folder=tmp_path, progress=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks": 0},
        {"cosine": -1.0},
        {"norm": -0.1},
        {"supervision": -1.0},
        {"logits": -1.0},
        {"top_logits": 0},
        {"temperature": 0.0},
        {"keep": "middle"},
        {"distillation": "sometimes"},
        {"positions": "some"},
    ],
    ids=str,
)
def test_settings_out_of_range(teacher, wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        make(teacher, **wrong).fit(TRAIN, progress=False)


def test_a_choice_that_is_misspelt_names_the_nearest():
    for name, wrong, near in (("distillation", "onlin", "online"), ("keep", "frist", "first")):
        with pytest.raises(SettingError, match=f"{name}='{wrong}' .*did you mean '{near}'"):
            SLMRec(**{name: wrong}).check()
