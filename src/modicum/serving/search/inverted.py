"""Approximate search: an inverted file that reads the nearest lists only, of a recall measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from modicum.errors import MissingExtraError, SettingError
from modicum.serving.search.scan import Scan
from modicum.serving.search.searching import Found, Search, require_memory

logger = logging.getLogger("modicum.serving")

TOP = 10
"""Recall is that of the ten best."""
SPARE = 32
"""Items that are scored in full beyond twice those wanted: 8 bits order the last ones poorly."""
MOST_READ = 1 / 8
"""Share of the lists beyond which the exact scan, which reads an item several times as fast, is as
good."""
ITERATIONS, POINTS_PER_LIST = 8, 64


class Inverted(Search):
    """Items in lists by direction (faiss, inverted file, 8 bits); a user's nearest lists are read.

    At first, the number of lists that are read is raised until, on a sample of users, at least the
    wanted share of the ten best items is found; where that takes too many lists to be worth it,
    and where items left out leave fewer than wanted, the search is exact.

    Args:
        items: (N, D) item vectors, float32 and finite.
        sample: (Q, D) user vectors on which recall is measured.
        recall: share of the ten best that is to be found, above 0 and below 1.
        threads: of one search.

    Raises:
        SettingError: the recall is out of range.
        ResourceError: the lists do not fit into memory.
        MissingExtraError: the extra ``serve`` is not installed.
    """

    def __init__(
        self, items: np.ndarray, sample: np.ndarray, *, recall: float, threads: int = 1
    ) -> None:
        super().__init__(items)
        if not 0 < recall < 1:
            raise SettingError(f"recall={recall} must be above 0 and below 1, such as 0.98")
        number, width = items.shape
        self._faiss, self._threads = _faiss(), threads
        self.num_lists = 2 ** round(np.log2(2 * np.sqrt(number)))
        learnt_from = min(number, POINTS_PER_LIST * self.num_lists)
        require_memory(2 * number * (width + 8) + 4 * width * learnt_from, "an inverted file")
        self._exact = Scan(items, sample, threads=threads)
        begin = time.perf_counter()
        logger.info("sorting %s items into %s lists", f"{number:,}", f"{self.num_lists:,}")
        self._index = self._sorted(learnt_from)
        self.sampled = len(sample)
        self.probes, self.recall = self._probes(sample, recall)
        seconds = time.perf_counter() - begin
        logger.info("%s; it took %.0f s", self.description, seconds)

    @property
    def is_exact(self) -> bool:
        """Whether the recall wanted takes so many lists that all items are scanned instead."""
        return self.probes > MOST_READ * self.num_lists

    @property
    def description(self) -> str:
        if self.is_exact:
            return (
                f"{self._exact.description}; the recall wanted would take {self.probes:,} of "
                f"{self.num_lists:,} lists, which is no faster"
            )
        return (
            f"approximate: {len(self.items):,} items in {self.num_lists:,} lists, of which "
            f"{self.probes:,} are read; recall@{TOP} {self.recall:.3f} on {self.sampled:,} users"
        )

    def best(
        self, users: np.ndarray, wanted: np.ndarray, left_out: Sequence[np.ndarray]
    ) -> list[Found]:
        if self.is_exact:
            return self._exact.best(users, wanted, left_out)
        found = self._read(users, wanted, left_out, self.probes)
        few = [
            at
            for at, ((positions, _), number) in enumerate(zip(found, wanted, strict=True))
            if len(positions) < min(number, len(self.items) - len(np.unique(left_out[at])))
        ]
        if few:
            rest = self._exact.best(users[few], wanted[few], [left_out[at] for at in few])
            for at, own in zip(few, rest, strict=True):
                found[at] = own
        return found

    def _read(
        self,
        users: np.ndarray,
        wanted: np.ndarray,
        left_out: Sequence[np.ndarray],
        probes: int,
    ) -> list[Found]:
        self._faiss.omp_set_num_threads(self._threads)  # of the thread that calls, so each time
        most = max(
            2 * int(number) + SPARE + len(out) for number, out in zip(wanted, left_out, strict=True)
        )
        settings = self._faiss.SearchParametersIVF(nprobe=probes)
        _, positions = self._index.search(
            np.ascontiguousarray(users), min(most, len(self.items)), params=settings
        )
        found = []
        for user, number, out, own in zip(users, wanted, left_out, positions, strict=True):
            own = own[own >= 0]
            own = own[~np.isin(own, out)] if len(out) else own
            found.append(self.best_of(own, user, int(number)))
        return found

    def _sorted(self, learnt_from: int) -> Any:
        faiss, (number, width) = self._faiss, self.items.shape
        faiss.omp_set_num_threads(self._threads)
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width),
            width,
            self.num_lists,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
            False,
        )
        index.cp.niter, index.cp.max_points_per_centroid = ITERATIONS, POINTS_PER_LIST
        some = np.random.default_rng(0).choice(number, learnt_from, replace=False)
        index.train(np.ascontiguousarray(self.items[np.sort(some)]))
        index.add(np.ascontiguousarray(self.items))
        return index

    def _probes(self, sample: np.ndarray, wanted: float) -> tuple[int, float]:
        """Return the fewest lists that give the wanted recall, and what they give."""
        top, nothing = np.full(len(sample), TOP), [np.empty(0, dtype=np.int64)] * len(sample)
        best = [set(positions.tolist()) for positions, _ in self._exact.best(sample, top, nothing)]

        def recall(probes: int) -> float:
            found = self._read(sample, top, nothing, probes)
            hits = sum(len(a & set(b.tolist())) for a, (b, _) in zip(best, found, strict=True))
            return hits / sum(map(len, best))

        enough = 1
        while (reached := recall(enough)) < wanted and enough < self.num_lists:
            enough *= 2
        too_few = enough // 2
        while enough - too_few > 1:
            middle = (enough + too_few) // 2
            if (there := recall(middle)) >= wanted:
                enough, reached = middle, there
            else:
                too_few = middle
        return enough, reached


def _faiss() -> Any:
    try:
        return import_module("faiss")
    except ImportError:
        raise MissingExtraError("serve", "faiss-cpu", "Approximate search") from None
