"""IM-VAE: its terms row by row, what its codes know, and users who are new to a domain."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch

import modicum as mo
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_domains
from modicum.data.split import split
from modicum.errors import ResourceError, SettingError
from modicum.methods.crossdomain.imvae import WEIGHTS
from modicum.methods.crossdomain.regularisers import Critic, cross_correlation
from modicum.methods.fitting import Fitting
from modicum.training import memory
from modicum.training.batches import Batch

from .simulated import BEHAVED, COLD, LOG, PARTS, SMALL, TRAINING, ndcg

FITTING = Fitting(None, 0, None, False, True)
OWN = {"latent": 16, "pseudo": 6, "kl_warmup": 0}
OFF = dict.fromkeys(("following", *WEIGHTS), 0.0)


def imvae(encoder="sasrec", **settings) -> mo.IMVAE:
    return mo.IMVAE(encoder=SMALL[encoder], **TRAINING | OWN | {"epochs": 1} | settings)


def begun(model: mo.IMVAE):
    """Return the network and the windows of a training that has not taken a step."""
    torch.manual_seed(0)
    network = None

    def keep(batches):
        nonlocal network
        network = model._network
        raise InterruptedError

    model.windows_of, windows = lambda *_: keep(None), model.windows_of
    with pytest.raises(InterruptedError):
        model.fit(PARTS.train, progress=False)
    return network, windows(PARTS.train, FITTING)


def rows_of(windows) -> np.ndarray:
    """Return targets of users who are cold, who met both domains, and who met only one."""
    train = PARTS.train
    at = np.sort(np.concatenate(windows.order(0)))
    inputs = [
        train.domains[train.offsets[train.event_users[t]] : t] == train.domains[t] for t in at
    ]
    own = np.array([each.sum() for each in inputs])
    other = np.array([len(each) for each in inputs]) - own
    kinds = own == 0, (own > 0) & (other > 0), other == 0
    return np.concatenate([at[kind][:8] for kind in kinds])


@pytest.mark.parametrize("encoder", SMALL)
def test_a_batch_costs_the_mean_of_its_rows(encoder):
    network, windows = begun(imvae(encoder, disentangling=0.0, following=0.0))
    network.eval()
    rows = rows_of(windows)
    together = network.losses(windows.batch(rows))
    alone = [network.losses(windows.batch(rows[at : at + 1])) for at in range(len(rows))]
    assert set(together) == {"softmax", *WEIGHTS} - {"disentangling"}
    for name, term in together.items():
        mean = torch.stack([each[name] for each in alone]).mean()
        torch.testing.assert_close(term, mean, atol=1e-5, rtol=1e-4)


def test_terms_of_a_row_are_a_number_for_each_row():
    network, windows = begun(imvae())
    batch = windows.batch(rows_of(windows))
    codes = network.codes(batch)
    _, made = network.users(batch, codes)
    terms = network.row_terms(codes, made)
    assert {term.shape for term in terms.values()} == {(len(batch.items),)}
    there = codes.lengths > 0
    assert codes.both.any() and (~codes.both & there).any() and (~there).any()
    assert not terms["informative"][~codes.both].any() and terms["informative"][codes.both].all()
    assert not terms["denoising"][~there].any() and terms["critic"][there & codes.proposed].all()
    assert not codes.own.mean[~there].any() and not made.own[~there].any()


@pytest.mark.parametrize("name", OFF)
def test_every_term_teaches_and_can_be_switched_off(name):
    network, windows = begun(imvae(**OFF | {name: 0.5}, free_bits=0.0))
    terms = network.losses(windows.batch(rows_of(windows)))
    assert set(terms) == {"softmax", name}
    terms[name].backward()
    assert network.encoder.items.weight.grad.any()
    silent = begun(imvae(**OFF))[0].losses(windows.batch(rows_of(windows)))
    assert set(silent) == {"softmax"}


def test_the_encoder_learns_what_follows_but_for_auxiliary_events(monkeypatch):
    network, _ = begun(imvae(following=0.5))
    learnt = {}

    def losses(batch):
        learnt["items"], learnt["targets"] = batch.items.tolist(), batch.targets.tolist()
        return {"softmax": torch.tensor(3.0)}

    monkeypatch.setattr(network.encoder, "losses", losses)
    batch = Batch(
        torch.tensor([[3, 4, 5], [7, 0, 0]]),
        torch.tensor([[0, 0, 6], [8, 0, 0]]),
        {"auxiliary": torch.tensor([[False, True, False], [False, False, False]])},
    )
    assert float(network.losses(batch)["following"]) == 1.5
    assert learnt == {"items": batch.items.tolist(), "targets": [[0, 5, 6], [8, 0, 0]]}


@pytest.mark.parametrize("encoder", SMALL)
def test_pads_change_nothing(encoder):
    drawn = encoder == "bert4rec"  # draws a mask for each place, of pads too
    network, windows = begun(imvae(encoder, following=0.0 if drawn else 1.0))
    network.eval()
    batch = windows.batch(rows_of(windows))
    wider = Batch(
        torch.nn.functional.pad(batch.items, (0, 5)),
        torch.nn.functional.pad(batch.targets, (0, 5)),
        batch.extra,
    )
    torch.testing.assert_close(network.encode(wider), network.encode(batch), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.losses(wider), network.losses(batch), atol=1e-5, rtol=1e-4)


def test_weights_grow_over_the_warmup():
    network, windows = begun(imvae(kl_warmup=3, kl_own=1.0))
    network.eval()
    batch, seen = windows.batch(rows_of(windows)), []
    for _ in range(5):
        seen.append(float(network.losses(batch)["kl_own"].detach()))
        network.steps += 1
    np.testing.assert_allclose(np.array(seen) / seen[-1], [0.25, 0.5, 0.75, 1, 1], rtol=1e-5)


def test_a_graph_may_propose_instead(tmp_path):
    model = imvae(generator="lightgcn").fit(PARTS.train, progress=False)
    assert torch.isinf(model.fitted_network.generator.users).all()
    loaded = mo.load(model.save(tmp_path / "model"))
    queries = PARTS.test.take(slice(0, 60))
    np.testing.assert_array_equal(loaded.rank(queries, 5).ranks, model.rank(queries, 5).ranks)


@pytest.mark.parametrize("settings", [{"pseudo": 0}, {"shared": False}, {"critic": 0.0}])
def test_modules_can_be_left_out(settings):
    model = imvae(**settings).fit(PARTS.train, progress=False)
    queries = PARTS.test.take(slice(0, 30))
    assert np.isfinite(model.rank(queries, 5, exclude_seen=False).ranks).any()
    gone = {"pseudo": "augmented", "shared": "shared", "critic": "critic"}[next(iter(settings))]
    assert not any(name.startswith(gone) for name in model.fitted_network.state_dict())


def test_the_codes_correlation_is_that_of_numpy():
    draw = np.random.default_rng(0)
    one, other = draw.normal(size=(50, 3)), draw.normal(size=(50, 3)) * 4 + 1
    found = cross_correlation(torch.from_numpy(one), torch.from_numpy(other))
    by_hand = np.square(np.corrcoef(one.T, other.T)[:3, 3:]).sum() / 3
    assert float(found) == pytest.approx(by_hand)
    assert float(cross_correlation(torch.ones(1, 3), torch.ones(1, 3))) == 0


def test_the_critic_learns_both_classes_and_the_augmented_side_to_mislead_it():
    torch.manual_seed(0)
    critic = Critic(4)
    true, augmented = (torch.randn(8, 4, requires_grad=True) for _ in range(2))
    critic(true, augmented).sum().backward()
    assert true.grad is None and augmented.grad.any()
    assert all(parameter.grad.any() for parameter in critic.parameters())
    before = critic(true, augmented).sum().detach()
    moved = augmented.detach() - 0.1 * augmented.grad  # as an optimiser would
    assert critic(true, moved).sum() > before


def test_a_row_knows_what_came_before_its_target_and_no_later():
    windows = imvae().windows_of(PARTS.train, FITTING)
    train = PARTS.train
    for which in windows.order(3)[:2]:
        batch = windows.batch(which)
        for row, at in enumerate(which.tolist()):
            user = int(train.event_users[at])
            before = train.item_rows[max(train.offsets[user], at - 20) : at].tolist()
            assert [item for item in batch.items[row].tolist() if item] == before
            assert batch.targets[row].sum() == batch.targets[row, len(before) - 1]
            assert batch.targets[row].sum() == train.item_rows[at]
            later = train.item_rows[at : train.offsets[user + 1]][:21].tolist()
            assert [item for item in batch.extra["later"][row].tolist() if item] == later
            assert batch.extra["domain"][row] == train.domains[at]


def test_an_epoch_draws_some_targets_of_each_window():
    windows = imvae(prefixes=2).windows_of(PARTS.train, FITTING)
    epochs = [np.sort(np.concatenate(windows.order(epoch))) for epoch in (0, 0, 1)]
    assert np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[0], epochs[2])
    lengths = PARTS.train.lengths
    drawn = np.bincount(PARTS.train.event_users[epochs[0]], minlength=len(lengths))
    short = lengths <= 21
    np.testing.assert_array_equal(drawn[short], np.minimum(lengths[short] - 1, 2))
    assert windows.num_targets == len(epochs[0])


def test_shuffled_test_targets_change_not_one_pseudo_sequence():
    parts = split(LOG, targets="last")
    events, queries = parts.test.histories, parts.test
    rows = events.item_rows.copy()
    rows[queries.targets] = np.random.default_rng(0).permutation(rows[queries.targets])
    shuffled = dataclasses.replace(queries, histories=dataclasses.replace(events, item_rows=rows))
    proposed = []
    for asked in (queries, shuffled):
        model = imvae().fit(parts.train, progress=False)
        seen: list[torch.Tensor] = []
        generator = model.fitted_network.generator
        generator.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
        wanted = dataclasses.replace(asked, histories=asked.histories)
        wanted.__dict__["domains"] = queries.domains  # a shuffled target may be of the other one
        model.rank(wanted, 5)
        proposed.append(seen)
    assert len(proposed[0]) == len(proposed[1]) > 0
    assert all(torch.equal(*pair) for pair in zip(*proposed, strict=True))


@pytest.mark.parametrize("encoder", SMALL)
def test_events_of_the_other_domain_help_users_who_are_new(encoder):
    cold = PARTS.test.take(COLD)
    assert len(cold) >= 15
    floor = ndcg(mo.Popularity().fit(PARTS.train), cold)
    model = imvae(encoder, epochs=7, kl_warmup=1000, learning_rate=2e-2)
    assert ndcg(model.fit(PARTS.train, progress=False), cold) > floor + 0.1


def test_collapse_shows_as_few_active_units():
    free, crushed = (
        imvae(
            epochs=6,
            learning_rate=3e-2,
            free_bits=0.0,
            **OFF | dict.fromkeys(("kl_own", "kl_shared", "kl_augmented"), weight),
        )
        .fit(PARTS.train, progress=False)
        .training_log[-1]["active units"]
        for weight in (0.0, 100.0)
    )
    assert set(free) == {"own", "shared", "augmented"}
    assert min(free.values()) == 16
    assert max(crushed.values()) <= 8


def test_only_the_target_behaviour_is_learnt_and_makes_the_true_history():
    parts = split(BEHAVED, target_domain="d1", target_behaviour="buy", test=0.3)
    model = imvae(target="buy").fit(parts.train, parts.validation, progress=False)
    bought = parts.train.where(behaviour="buy")
    windows = model.windows_of(parts.train, FITTING)
    drawn = np.concatenate(windows.order(0))
    assert bought[drawn].all() and windows.num_targets == len(drawn)
    assert model.catalogue.counts.sum() == bought.sum()
    codes = model.fitted_network.codes(windows.batch(drawn[:50]))
    own = [
        (bought & (parts.train.domains == parts.train.domains[at]))[
            max(parts.train.offsets[parts.train.event_users[at]], at - 20) : at
        ].sum()
        for at in drawn[:50]
    ]
    assert codes.lengths.tolist() == own
    asked = {"k": 1, "domain": "d1", "exclude_seen": False}
    items = [[("d1", 1), ("d1", 2)]]
    kinds = [["view", "buy"], ["buy", "view"], ["buy", "buy"], ["view", "view"]]
    scores = [model.recommend(items, behaviours=[each], **asked)["score"][0] for each in kinds]
    assert len(set(scores)) == 4


def test_one_domain_with_behaviours_shares_a_code_between_them():
    log = EventLog(BEHAVED.scan.filter(pl.col("domain") == "d0").drop("domain"), "one")
    parts = split(log, target_behaviour="buy")
    model = imvae(target="buy").fit(parts.train, progress=False)
    assert set(model.lineage["active units"]) == {"own", "shared", "augmented"}
    assert len(model.recommend([[1, 2]], behaviours=[["view", "view"]], k=5)) == 5


def test_three_domains_are_one_and_the_rest():
    parts = split(simulate_domains(200, 12, num_domains=3, overlap=0.8, seed=2).log)
    model = imvae().fit(parts.train, progress=False)
    one, other = ([("d0", 3), ("d1", 4), ("d2", 5)], [("d0", 3), ("d2", 5), ("d1", 4)])
    top = model.recommend([one, other], k=12, domain="d2")
    assert set(top["domain"]) == {"d2"} and 5 not in top["item"]
    queries = parts.test.take(slice(0, 40))
    alone = [model.rank(queries.take(np.array([at])), 5).ranks[0] for at in range(40)]
    np.testing.assert_allclose(model.rank(queries, 5).ranks, alone)


def test_it_comes_back_with_its_neighbours(tmp_path):
    model = imvae().fit(PARTS.train, progress=False)
    loaded = mo.load(model.save(tmp_path / "model"))
    for name in ("neighbours", "nearness", "users"):
        kept = getattr(model.fitted_network.generator, name)
        assert torch.equal(getattr(loaded.fitted_network.generator, name), kept) and kept.any()
    queries = PARTS.test.take(slice(0, 60))
    np.testing.assert_array_equal(loaded.rank(queries, 5).ranks, model.rank(queries, 5).ranks)
    units = model.lineage["active units"]
    assert loaded.lineage["active units"] == units == loaded.training_log[-1]["active units"]


def test_a_training_that_was_cut_off_ends_as_an_unbroken_one(tmp_path):
    whole = imvae(epochs=3).fit(PARTS.train, PARTS.validation, progress=False)
    cut = imvae(epochs=3)
    network = cut.network

    def limited(catalogue):
        made = network(catalogue)
        losses = made.losses

        def counted(batch):
            if int(made.steps) == 5:
                raise KeyboardInterrupt
            return losses(batch)

        made.losses = counted
        return made

    cut.network = limited
    with pytest.raises(KeyboardInterrupt):
        cut.fit(PARTS.train, PARTS.validation, folder=tmp_path, progress=False)
    again = imvae(epochs=3).fit(PARTS.train, PARTS.validation, folder=tmp_path, progress=False)
    states = whole.fitted_network.state_dict(), again.fitted_network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generator": "lightgc"}, "did you mean 'lightgcn'"),
        ({"latent": 0}, "latent=0"),
        ({"prefixes": 0}, "prefixes=0"),
        ({"pseudo": -1}, "pseudo=-1"),
        ({"kl_own": -0.1}, "kl_own=-0.1"),
        ({"critic": float("nan")}, "critic=nan"),
        ({"encoder": "popularity"}, "state at each event"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(SettingError, match=message):
        mo.IMVAE(**settings).fit(PARTS.train, progress=False)


def test_neighbours_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
    with pytest.raises(ResourceError, match="neighbours of all items"):
        imvae().fit(PARTS.train, progress=False)


def test_a_log_without_domains_has_an_own_and_an_augmented_code():
    log = EventLog(LOG.scan.filter(pl.col("domain") == "d0").drop("domain"), "one")
    model = imvae().fit(split(log).train, progress=False)
    assert set(model.lineage["active units"]) == {"own", "augmented"}
    assert "informative" not in model.training_log[0]["losses"]
