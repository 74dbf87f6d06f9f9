"""The ten best of many items, by one thread: the searches of the server beside torch, in turn.

Item vectors are **not** drawn at random around centres, which would flatter every index. They come
from a trained model, whose catalogue is smaller than those asked about here:

- ``tiled``: each item ``x`` of the model several times, as ``x + (a - b) / 2`` with ``a`` and ``b``
  drawn among the 50 items of the highest inner product with it. So each place of the learnt space
  is filled more densely, in the directions in which its items differ. A stand-in for a table that
  was trained at that size, which it is not.
- ``unclustered``: of the mean, the covariance and the norms of the trained table, and no other
  structure: about the worst that a trained table could be for an inverted file.

Users are vectors of the model's encoder: histories that begin with an item drawn by popularity, and
go on with one of the ten that the model recommends then. Half of them sets the number of lists that
the inverted file reads, and what of each item the exact search reads first; recall and seconds are those of the other half.

``torch`` is a float32 product with all items and ``topk``. Ratios are seconds of ours by those of
torch: below 1 is faster.
"""

import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy as np
import protocol
import torch

import modicum as mo
from modicum.methods.recommender import Recommender
from modicum.serving.search.inverted import Inverted
from modicum.serving.search.scan import Scan
from modicum.training.batches import Batch

task = protocol.task()
NEAR, STEPS, USERS, TOP = 50, 5, 512, 10
random = np.random.default_rng(task["seed"])


def tiled(items: np.ndarray, number: int) -> np.ndarray:
    near = np.argpartition(-(items @ items.T), NEAR, axis=1)[:, :NEAR]
    which = random.permutation(np.resize(np.arange(len(items)), number))
    a, b = (near[which, random.integers(0, NEAR, number)] for _ in range(2))
    return items[which] + (items[a] - items[b]) / 2


def unclustered(items: np.ndarray, number: int) -> np.ndarray:
    mean = items.mean(0)
    root = np.linalg.cholesky(np.cov(items.T)).astype(np.float32)
    drawn = random.standard_normal((number, items.shape[1]), dtype=np.float32) @ root.T
    norms = random.choice(np.linalg.norm(items - mean, axis=1), number)
    return mean + drawn * (norms / np.linalg.norm(drawn, axis=1))[:, None]


def users_of(model: Recommender) -> np.ndarray:
    """Return (USERS, D) vectors of histories that follow what the model recommends."""
    network, often = model.fitted_network, model.catalogue.counts[1:] / model.catalogue.counts.sum()
    rows = 1 + random.choice(len(often), (USERS, 1), p=often)
    with torch.inference_mode():
        for _ in range(STEPS):
            scores = network.scores(network.encode(Batch(torch.from_numpy(rows))))
            best = 1 + scores.topk(TOP).indices.numpy()
            step = best[np.arange(USERS), random.integers(0, TOP, USERS)]
            rows = np.concatenate([rows, step[:, None]], axis=1)
        return network.encode(Batch(torch.from_numpy(rows))).numpy()


def by_torch(items: torch.Tensor, users: np.ndarray) -> np.ndarray:
    return (torch.from_numpy(users) @ items.T).topk(TOP).indices.numpy()


def found(search: Scan | Inverted, users: np.ndarray) -> list[np.ndarray]:
    nothing = [np.empty(0, dtype=np.int64)] * len(users)
    return [own for own, _ in search.best(users, np.full(len(users), TOP), nothing)]


def recall(theirs: list[np.ndarray], best: list[np.ndarray]) -> float:
    pairs = zip(theirs, best, strict=True)
    return float(np.mean([len(set(a.tolist()) & set(b.tolist())) / TOP for a, b in pairs]))


def each(ask: Callable[[np.ndarray], Any], users: Iterator[np.ndarray]) -> Callable[[], Any]:
    """Return a call that asks for the next users."""
    return lambda: ask(next(users))


model = mo.load(task["model"])
trained = model.fitted_network.item_vectors().detach().numpy()
users = users_of(model)
sample, held_out = users[::2], users[1::2]
items = {"tiled": tiled, "unclustered": unclustered}[task["table"]](trained, task["items"])
items = np.ascontiguousarray(items, dtype=np.float32)
begin = time.perf_counter()
scan = Scan(items, sample)
scan_s = time.perf_counter() - begin
begin = time.perf_counter()
inverted = Inverted(items, sample, recall=task["least_recall"])
inverted_s = time.perf_counter() - begin

table = torch.from_numpy(items)
best = found(scan, held_out)
names = {
    "torch": lambda users: by_torch(table, users),
    "exact": lambda users: found(scan, users),
    "inverted": lambda users: found(inverted, users),
}
figures: dict[str, Any] = {
    "trained": len(trained),
    "build_s": {"exact": scan_s, "inverted": inverted_s},
    "inverted": inverted.description,
    "recall": recall(found(inverted, held_out), best),
    "same_as_torch": recall(list(by_torch(table, held_out[:64])), best[:64]),
}
for size, calls in ((1, task["calls"]), (64, max(3, task["calls"] // 10))):
    batches = [held_out[at : at + size] for at in range(0, len(held_out), size)]
    arms = {name: each(ask, cycle(batches)) for name, ask in names.items()}
    seconds = protocol.in_turn(arms, calls)
    for name, own in seconds.items():
        figures[f"{name}_{size}"] = {
            "median_ms": 1000 * float(np.median(own)) / size,
            "p99_ms": 1000 * float(np.quantile(own, 0.99)) / size,
        }
    for name in ("exact", "inverted"):
        for kind, of in (("median", np.median), ("p99", lambda x: np.quantile(x, 0.99))):
            ratio = float(of(seconds[name]) / of(seconds["torch"]))
            figures[f"{name}_{size}_{kind}_ratio"] = ratio

packages = ("modicum", "torch", "onnxruntime", "faiss-cpu")
protocol.report(*packages, **figures, **task, threads=1, peak_mb=protocol.peak_mb())
