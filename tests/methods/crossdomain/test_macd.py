"""MACD: what it reads and when, its losses, its ablations, and what the other domain is good for."""

import numpy as np
import polars as pl
import pytest
import torch

import modicum as mo
from modicum.compression.onnx import export
from modicum.compression.pruning import prune
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_domains
from modicum.data.split import split
from modicum.errors import BundleError, DataError, SettingError
from modicum.methods.crossdomain.macd import MACD, Contrast, Network
from modicum.methods.network import Catalogue
from modicum.training.batches import Batch, Windows

from .simulated import BEHAVED, COLD, PARTS, SMALL, TRAINING

D0, D1 = 0, 1


def macd(encoder="sasrec", **settings) -> MACD:
    return mo.MACD(encoder=SMALL.get(encoder, encoder), **TRAINING | {"epochs": 2} | settings)


def untrained(model: MACD, histories=PARTS.train) -> Network:
    torch.manual_seed(0)
    network = model.network(Catalogue.of(histories)).eval()
    network.items.weight.data *= 20  # so that every event counts
    return network


@pytest.fixture(scope="module")
def fitted() -> MACD:
    return macd(epochs=4).fit(PARTS.train, progress=False)


def rows_of(domain: int) -> np.ndarray:
    """Return the item rows of a domain."""
    return np.flatnonzero(PARTS.train.vocabulary.domains == domain) + 1


def random_batch(network: Network, *, seed: int = 0) -> Batch:
    """Return histories of both domains, each with a target at its places 3 and 6."""
    rng = np.random.default_rng(seed)
    events = torch.from_numpy(rng.integers(1, len(PARTS.train.vocabulary) + 1, (6, 9)))
    targets = torch.zeros(6, 8, dtype=torch.int64)
    for place in (3, 6):
        targets[:, place] = events[:, place + 1]
    return Batch(events[:, :-1], targets)


def ndcg(model, queries) -> float:
    summary = mo.evaluate(model, queries, k=10, progress=False).summary
    return summary.filter((pl.col("metric") == "ndcg@10") & (pl.col("stratum") == "all"))[
        "mean"
    ].item()


@pytest.mark.parametrize("encoder", SMALL)
def test_events_of_the_other_domain_help_users_who_are_new(encoder):
    cold = PARTS.test.take(COLD)
    assert len(cold) >= 40
    floor = ndcg(mo.Popularity().fit(PARTS.train), cold)
    model = macd(encoder, epochs=12).fit(PARTS.train, progress=False)
    assert ndcg(model, cold) > floor + 0.1


# what is read


@pytest.mark.parametrize("encoder", SMALL)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_what_comes_after_a_target_never_changes_its_loss(encoder, pooling):
    network = untrained(macd(encoder, target="buy", pooling=pooling))
    for place in (3, 6):
        batch = random_batch(network)
        auxiliary = torch.rand(batch.items.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        batch.extra["auxiliary"] = auxiliary
        batch.targets[:, 9 - place] = 0  # the other one
        before = network.losses(batch)
        batch.items[:, place + 1 :] = random_batch(network, seed=1).items[:, place + 1 :]
        auxiliary[:, place + 1 :] ^= True
        after = network.losses(batch)
        torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-6)
        batch.items[:, 1] = random_batch(network, seed=1).items[:, 1]
        assert not torch.allclose(network.losses(batch)["softmax"], before["softmax"])


@pytest.mark.parametrize("encoder", SMALL)
def test_pads_change_nothing(encoder):
    network = untrained(macd(encoder))
    batch = random_batch(network)
    wider = torch.nn.functional.pad(batch.items, (0, 5))
    targets = torch.nn.functional.pad(batch.targets, (0, 5))
    domain = torch.tensor([0, 1] * 3)
    torch.testing.assert_close(
        network.encode(Batch(wider, extra={"domain": domain})),
        network.encode(Batch(batch.items, extra={"domain": domain})),
    )
    batch.targets[:, 3] = targets[:, 3] = 0  # one target a row, so nothing is drawn
    torch.testing.assert_close(network.losses(Batch(wider, targets)), network.losses(batch))


@pytest.mark.parametrize("encoder", SMALL)
def test_all_positions_of_a_window_train_as_each_prefix_is_encoded(encoder):
    """The state behind a target in training is the vector that a query there gets."""
    network = untrained(macd(encoder, neighbours=0))
    batch = random_batch(network)
    for place in (3, 6):
        targets = torch.zeros_like(batch.targets)
        targets[:, place] = batch.targets[:, place]
        domain = network.domain_of[targets[:, place]]
        asked = Batch(batch.items[:, : place + 1], extra={"domain": domain})
        scores = network.scores(network.encode(asked))
        scores[network.domain_of[1:] != domain[:, None]] = float("-inf")
        by_hand = torch.nn.functional.cross_entropy(scores, targets[:, place] - 1)
        found = network.losses(Batch(batch.items, targets))["softmax"]
        torch.testing.assert_close(found, by_hand, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("encoder", SMALL)
def test_many_queries_rank_as_each_alone_and_in_any_order(encoder):
    model = macd(encoder).fit(PARTS.train, progress=False)
    queries = PARTS.test.take(np.flatnonzero(COLD | (np.arange(len(COLD)) < 40)))
    together = model.rank(queries, 5).ranks
    alone = [model.rank(queries.take(np.array([at])), 5).ranks[0] for at in range(len(queries))]
    np.testing.assert_allclose(together, alone)
    order = np.random.default_rng(0).permutation(len(queries))
    histories = [
        list(
            zip(
                queries.histories.vocabulary.domains_of(rows),
                queries.histories.vocabulary.names(rows),
                strict=True,
            )
        )
        for rows in (
            queries.histories.item_rows[start:end]
            for start, end in zip(queries.starts, queries.targets, strict=True)
        )
    ]
    plain, mixed = (
        model.recommend([histories[at] for at in ordered], k=3, domain="d1")
        for ordered in (range(len(histories)), order)
    )
    back = mixed.with_columns(query=pl.Series(order).gather(mixed["query"])).sort("query", "rank")
    np.testing.assert_allclose(back["score"], plain["score"], atol=1e-5)


def test_more_than_two_domains_are_read_as_one_other():
    parts = split(simulate_domains(80, 12, num_domains=3, overlap=1.0, seed=0).log)
    model = macd(neighbours=0).fit(parts.train, parts.validation, progress=False)
    own = ("d1", 3)
    scores = [
        model.recommend([[*others, own]], domain="d1", k=1)["score"].item()
        for others in ([], [("d0", 1)], [("d2", 1)], [("d0", 1), ("d2", 1)])
    ]
    assert len(set(scores)) == 4
    for domain in ("d0", "d1", "d2"):
        top = model.recommend([[own], []], domain=domain, k=50)
        assert top["domain"].unique().to_list() == [domain]


@pytest.mark.parametrize("encoder", SMALL)
def test_only_the_target_behaviour_is_learnt(encoder):
    parts = split(BEHAVED, target_domain="d1", target_behaviour="buy", test=0.3)
    model = macd(encoder, target="buy").fit(parts.train, parts.validation, progress=False)
    bought = parts.train.where(behaviour="buy")
    assert 0 < model.training_log[0]["targets"] <= bought.sum()
    assert model.catalogue.counts.sum() == bought.sum()
    items = [[("d1", 1), ("d1", 2)]]
    kinds = [["view", "buy"], ["buy", "view"], ["buy", "buy"]]
    asked = {"k": 1, "domain": "d1", "exclude_seen": False}
    scores = [model.recommend(items, behaviours=[each], **asked)["score"][0] for each in kinds]
    assert len(set(scores)) == 3


def test_one_domain_with_behaviours_has_people_who_never_bought():
    log = EventLog(BEHAVED.scan.filter(pl.col("domain") == "d0").drop("domain"), "one")
    parts = split(log, target_behaviour="buy")
    model = macd(target="buy").fit(parts.train, parts.validation, progress=False)
    network = model.fitted_network
    assert network.cross is None and network.contrast is None and network.neighbours.size(0) > 20
    assert len(model.recommend([[1, 2]], behaviours=[["view", "view"]], k=5)) == 5


# losses


def test_the_softmax_of_a_batch_is_the_mean_over_the_targets_of_its_rows():
    network = untrained(macd())
    batch = random_batch(network)
    batch.targets[0, 3] = batch.targets[4, 6] = 0
    whole = network.losses(batch)["softmax"]
    rows = [batch.take(torch.tensor([at])) for at in range(6)]
    counts = torch.tensor([float((row.targets > 0).sum()) for row in rows])
    each = torch.stack([network.losses(row)["softmax"] for row in rows])
    torch.testing.assert_close(whole, (each * counts).sum() / counts.sum())


def test_the_contrast_by_hand():
    rng = np.random.default_rng(0)
    intra, cross = rng.normal(size=(2, 5, 4))
    lengths = np.linalg.norm(intra, axis=1)[:, None] * np.linalg.norm(cross, axis=1)
    odds = np.exp(3.0 * intra @ cross.T / lengths)
    own = np.diag(odds)
    by_hand = -(np.log(own / odds.sum(0)) + np.log(own / odds.sum(1))).mean() / 2
    found = Contrast(macd(sharpness=3.0), 4)(torch.from_numpy(intra), torch.from_numpy(cross))
    assert float(found) == pytest.approx(by_hand)
    critic = Contrast(macd(form="critic"), 4).double()
    for parameter in critic.parameters():
        parameter.data.zero_()
    undecided = critic(torch.from_numpy(intra), torch.from_numpy(cross))
    assert undecided.item() == pytest.approx(np.log(2))
    alone = torch.ones(1, 4).double()
    assert critic(alone, alone).item() == 0  # no negative


@pytest.mark.parametrize("form", ["infonce", "critic"])
def test_the_contrast_reaches_both_interests_unless_its_weight_is_zero(form):
    network = untrained(macd(form=form, contrast=0.5))
    terms = network.losses(random_batch(network))
    terms["contrast"].backward()
    for interest in (network.intra, network.cross):
        assert interest.attention.query.weight.grad.abs().sum() > 0
        assert interest.fusion.weight_ih.grad is None
    halved = untrained(macd(form=form, contrast=0.25))
    again = halved.losses(random_batch(halved))
    torch.testing.assert_close(again["contrast"], terms["contrast"].detach() / 2)
    without = untrained(macd(form=form, contrast=0.0))
    assert without.contrast is None and set(without.losses(random_batch(without))) == {"softmax"}


def test_users_of_one_domain_are_in_no_pair():
    network = untrained(macd())
    batch = random_batch(network)
    only = torch.from_numpy(np.random.default_rng(1).choice(rows_of(D1), (6, 8)))
    targets = torch.where(batch.targets > 0, only[:, :1], 0)
    assert float(network.losses(Batch(only, targets))["contrast"].detach()) == 0


# users who are new


def test_nobody_lends_to_oneself(fitted):
    train, queries = PARTS.train, PARTS.test
    whole, elsewhere = fitted.lenders(train, D1)
    users = np.searchsorted(train.offsets, whole.starts, side="right") - 1
    lenders = set(train.user_ids.gather(users).to_list())
    assert len(lenders) == fitted.fitted_network.neighbours.size(D1) > 50
    new = set(queries.histories.user_ids.gather(queries.users[COLD]).to_list())
    assert new & set(train.user_ids.to_list()) and not new & lenders
    domains = train.vocabulary.domains
    assert (domains[elsewhere.item_rows - 1] != D1).all()
    assert (elsewhere.ends > elsewhere.starts).all()


def test_a_user_with_one_event_long_ago_is_not_new(fitted):
    """So that no user who lends is ever found to be new."""
    length = fitted.length
    old = [("d1", 3), *[("d0", at % 30) for at in range(3 * length)]]
    before = fitted.recommend([old], domain="d1", k=5)
    neighbours = fitted.fitted_network.neighbours
    kept = neighbours.tensors()
    try:
        neighbours.keep(D1, kept["keys1"], -kept["vectors1"])
        assert fitted.recommend([old], domain="d1", k=5).equals(before)
        new = [old[1:]]
        changed = fitted.recommend(new, domain="d1", k=5)
    finally:
        neighbours.load(kept)
    assert not changed.equals(fitted.recommend(new, domain="d1", k=5))


def test_a_new_user_gets_the_vectors_of_neighbours_by_hand(fitted):
    network = fitted.fitted_network
    rows = rows_of(D0)[[1, 5, 6]]
    batch = Batch(torch.from_numpy(rows)[None], extra={"domain": torch.tensor([D1])})
    with torch.no_grad():
        found = network.encode(batch)[0].numpy()
        own = network.interests(batch, D1, torch.tensor([[2]])).users[0, 0].numpy()
    keys, vectors, centre = (
        network.neighbours.tensors()[f"{name}1"].numpy() for name in ("keys", "vectors", "centre")
    )
    apart = own - centre[0]
    cosines = keys @ apart / np.linalg.norm(keys, axis=1) / np.linalg.norm(apart)
    nearest = np.argsort(-cosines)[: fitted.neighbours]
    weights = np.exp(cosines[nearest] / fitted.temperature)
    lent = weights @ vectors[nearest] / weights.sum()
    by_hand = (1 - fitted.borrowed) * own + fitted.borrowed * lent
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


def test_without_neighbours_a_new_user_has_only_their_own_vector():
    model = macd(neighbours=0).fit(PARTS.train, progress=False)
    assert model.fitted_network.neighbours.size(D1) == 0
    assert len(model.recommend([[("d0", 1)]], domain="d1", k=5)) == 5


# settings, folders, resumption


@pytest.mark.parametrize(
    "settings",
    [
        {"intra": False},
        {"cross": False},
        {"intra": False, "cross": False},
        {"shared": False},
        {"history": "target"},
        {"history": "target", "shared": False},
        {"pooling": "mean"},
        {"form": "critic"},
        {"encoder": "bert4rec", "shared": False},
    ],
)
def test_every_part_can_be_left_out_or_changed(settings):
    model = macd(**settings).fit(PARTS.train, PARTS.validation, progress=False)
    network = model.fitted_network
    assert (network.intra is None) == (settings.get("intra") is False)
    assert (network.cross is None) == (settings.get("cross") is False)
    both = network.intra is not None and network.cross is not None
    for record in model.training_log:
        assert set(record["losses"]) == ({"softmax", "contrast"} if both else {"softmax"})
        assert np.isfinite(list(record["losses"].values())).all()
    assert len(network.encoders) == (4 if settings.get("shared") is False else 1)


def test_item_vectors_are_kept_once():
    network = untrained(macd())
    tables = [name for name in network.state_dict() if name.endswith("items.weight")]
    assert tables == ["items.weight"]
    assert all(encoder.items is network.items for encoder in network.encoders)


def test_a_folder_holds_the_neighbours_too(fitted, tmp_path):
    loaded = mo.load(fitted.save(tmp_path / "model"))
    asked = [[("d0", 1), ("d0", 2)], [("d1", 5)], []]
    before, after = (model.recommend(asked, domain="d1", k=9) for model in (fitted, loaded))
    assert before.equals(after)
    kept, read = (model.fitted_network.neighbours.tensors() for model in (fitted, loaded))
    assert kept.keys() == read.keys() and all(torch.equal(kept[x], read[x]) for x in kept)
    queries = PARTS.test.take(COLD)
    np.testing.assert_array_equal(loaded.rank(queries, 5).ranks, fitted.rank(queries, 5).ranks)


def test_a_folder_without_neighbours_is_refused(fitted, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(fitted.fitted_network.neighbours), "tensors", lambda self: {})
        folder = fitted.save(tmp_path / "model")
    with pytest.raises(BundleError, match="lack keys0"):
        mo.load(folder)


def test_a_training_that_was_cut_off_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    def fit(folder=None):
        model = macd("bert4rec")  # draws its targets
        return model.fit(PARTS.train, PARTS.validation, folder=folder, progress=False)

    unbroken = fit()
    whole = Windows.epoch

    def cut_off(windows, epoch, *, skip=0):
        for number, batch in enumerate(whole(windows, epoch, skip=skip)):
            if (epoch, number) == (1, 1):
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Windows, "epoch", cut_off)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path)
    resumed = fit(tmp_path)
    one, other = (model.fitted_network.state_dict() for model in (unbroken, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    kept, again = (m.fitted_network.neighbours.tensors() for m in (unbroken, resumed))
    assert all(torch.equal(kept[name], again[name]) for name in kept)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "sasrek"}, "did you mean 'sasrec'"),
        ({"encoder": "slmrec"}, "more than its network"),
        ({"pooling": "first"}, "pooling='first' is not known"),
        ({"form": "infonc"}, "did you mean 'infonce'"),
        ({"contrast": -1.0}, "contrast=-1.0 must not be negative"),
        ({"neighbours": -1}, "neighbours=-1"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"sharpness": float("nan")}, "sharpness=nan must be above 0"),
        ({"borrowed": 1.5}, "borrowed=1.5"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(SettingError, match=message):
        macd(**settings).check()


def test_what_it_cannot_do_is_said(fitted, tmp_path):
    with pytest.raises(SettingError, match="popularity has no state at each event"):
        macd("popularity").fit(PARTS.train, progress=False)
    with pytest.raises(SettingError, match="depends on the domain"):
        export(fitted, tmp_path / "onnx")
    with pytest.raises(SettingError, match="cannot be pruned"):
        prune(fitted, PARTS.train, keep=0.5, epochs=0, progress=False)
    with pytest.raises(DataError, match=r"name it with domain=\.\.\., one of d0, d1"):
        fitted.recommend([[("d1", 3)]])
