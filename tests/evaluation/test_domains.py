"""Evaluation where items have domains: each target ranks among the items of its own."""

import numpy as np
import polars as pl

from modicum.data.log import EventLog
from modicum.data.simulate import simulate_domains
from modicum.data.split import split
from modicum.data.strata import DEFINITIONS
from modicum.evaluation.candidates import sample_negatives
from modicum.evaluation.evaluate import evaluate
from modicum.evaluation.ranking import Ranking
from modicum.methods.sequential.popularity import Popularity

LOG = simulate_domains(200, 20, overlap=0.7, seed=3).log


class Constant:
    """Ranks every target second, and shows the first item of its domain."""

    name = "constant"

    def __init__(self, parts):
        self.vocabulary = parts.train.vocabulary

    def rank(self, queries, k, **settings):
        first = [np.flatnonzero(self.vocabulary.domains == code)[0] + 1 for code in (0, 1)]
        top = np.zeros((len(queries), k), dtype=np.int32)
        top[:, 0] = np.array(first)[queries.domains]
        return Ranking(ranks=np.full(len(queries), 2.0), top=top)


def test_the_catalogue_is_that_of_the_target_domain():
    parts = split(LOG, target_domain="d1")
    report = evaluate(Constant(parts), parts.test, k=1, progress=False)
    size = int((parts.train.vocabulary.domains == 1).sum())
    assert (report.protocol["catalogue"], report.protocol["catalogue of"]) == (size, "d1")
    assert report.coverage == {"coverage@1": 1 / size}
    assert f"ranked among the full catalogue of {size} items of d1." in str(report)


def test_targets_of_several_domains_are_said_to_be():
    parts = split(LOG)
    report = evaluate(Constant(parts), parts.test, k=1, progress=False)
    assert report.protocol["catalogue of"] == "the target's domain (d0, d1)"
    assert report.protocol["catalogue"] == len(parts.train.vocabulary)


def test_reports_say_what_their_strata_are(tmp_path):
    parts = split(LOG, target_domain="d1", test=0.3)
    report = evaluate(Constant(parts), parts.test, k=1, progress=False)
    page = report.to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    for name in ("both domains", "cold in the target domain", "tail"):
        assert f"{name}: {DEFINITIONS[name]}" in str(report)
        assert DEFINITIONS[name] in page
    assert "target domain: d1" in str(report)


def test_sampled_candidates_are_of_the_target_domain():
    queries = split(LOG).test
    sampled = sample_negatives(queries, 5, seed=0)
    domains = queries.histories.vocabulary.domains[sampled - 1]
    assert (domains == queries.domains[:, None]).all()
    assert (sampled != queries.target_rows[:, None]).all()
    assert all(len(set(row)) == 5 for row in sampled.tolist())
    for row, domain in zip(sample_negatives(queries, 25, seed=0), queries.domains, strict=True):
        there = row[row > 0]
        assert 0 < len(there) < 20 and set(queries.histories.vocabulary.domains[there - 1]) == {
            domain
        }


def test_a_viewed_item_can_still_be_bought():
    deeds = [("view", "a"), ("view", "b"), ("buy", "c"), ("view", "c"), ("buy", "b"), ("view", "a")]
    deeds += [("view", "b"), ("buy", "c"), ("buy", "d"), ("buy", "a")]
    frame = pl.DataFrame(deeds, schema=["behaviour", "item"], orient="row")
    frame = frame.with_columns(user=1, time=pl.int_range(10).cast(pl.Datetime("us")))
    log = EventLog(frame.lazy(), "deeds")
    bought, any_event = split(log, target_behaviour="buy"), split(log)
    model = Popularity().fit(bought.train)
    names = model.vocabulary.names
    ranking = model.rank(bought.test, 4)
    assert names(ranking.top[ranking.top > 0]).to_list() == ["a"]  # b and c were bought, d is new
    assert ranking.ranks.tolist() == [1]
    assert np.isinf(model.rank(any_event.test, 4).ranks).all()
    reports = [
        evaluate(model, parts.test, k=1, progress=False).protocol for parts in (bought, any_event)
    ]
    assert [report["excluded targets"] for report in reports] == [0, 1]
    assert reports[0]["seen items"] == "those that the user met by buy"
