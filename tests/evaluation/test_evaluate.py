"""A model's report from ranks to protocol, with rankers whose figures are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from modicum.errors import DataError, SettingError
from modicum.evaluation import evaluate as module
from modicum.evaluation import progress
from modicum.evaluation.evaluate import evaluate
from modicum.evaluation.ranking import Ranking
from modicum.methods.sequential.sasrec import SASRec


def _seen(queries):
    rows = queries.histories.item_rows
    return np.array(
        [rows[t] in rows[s:t] for s, t in zip(queries.starts, queries.targets, strict=True)]
    )


def test_a_perfect_ranker_finds_all_it_may_recommend(parts, perfect):
    report = evaluate(perfect, parts.test)
    reachable = (parts.test.item_events[parts.test.target_rows] > 0) & ~_seen(parts.test)
    expected = [reachable[parts.test.users == user].mean() for user in np.unique(parts.test.users)]
    for metric in report.metrics:
        np.testing.assert_allclose(report.per_user[metric], expected)
    assert report.metrics == ["hr@1", "hr@5", "hr@10", "ndcg@1", "ndcg@5", "ndcg@10", "mrr"]


def test_without_exclusion_only_unknown_items_are_missed(parts, perfect):
    report = evaluate(perfect, parts.test, exclude_seen=False)
    unseen = report.values("unseen item")
    assert (unseen["hr@10"] == 0).all()
    assert (report.values("warm item")["hr@1"] == 1).all()
    assert report.protocol["excluded targets"] == 0


def test_a_constant_ranker_scores_no_better_than_its_expected_rank(parts, constant):
    report = evaluate(constant, parts.test, exclude_seen=False)
    known = len(parts.train.vocabulary)
    assert report.per_user["hr@10"].max() == 0
    warm = report.values("warm item")["mrr"]
    np.testing.assert_allclose(warm, 1 / (1 + (known - 1) / 2))


def test_a_random_ranker_hits_as_often_as_chance(parts, chance):
    queries = parts.test.take(np.repeat(np.arange(len(parts.test)), 20))
    ranks = chance.rank(queries, 10, exclude_seen=False).ranks
    known = np.isfinite(ranks)
    share = 10 / len(parts.train.vocabulary)
    assert (ranks[known] <= 10).mean() == pytest.approx(share, abs=0.03)


def test_the_order_of_queries_changes_nothing(parts, popular):
    shuffled = parts.test.take(np.random.default_rng(0).permutation(len(parts.test)))
    for settings in ({}, {"candidates": "sampled-20"}):
        one, other = (evaluate(popular, queries, **settings) for queries in (parts.test, shuffled))
        assert_frame_equal(one.per_stratum, other.per_stratum, check_exact=True)
        assert_frame_equal(one.summary, other.summary, check_exact=True)
        assert one.protocol == other.protocol


def test_the_protocol_says_how_it_was_measured(parts, popular):
    protocol = evaluate(popular, parts.test, k=(3, 1), seed=5).protocol
    assert protocol["model"] == "popular"
    assert protocol["split"] == "global time"
    assert protocol["targets"] == "all"
    assert protocol["part"] == "test"
    assert protocol["test from"] == parts.protocol["test from"]
    assert protocol["candidates"] == "full catalogue"
    assert protocol["exclude_seen"] is True
    assert protocol["k"] == [1, 3]
    assert protocol["queries"] == len(parts.test)
    assert protocol["users"] == len(np.unique(parts.test.users))
    assert protocol["seed"] == 5
    unknown = parts.test.item_events[parts.test.target_rows] == 0
    assert protocol["unknown targets"] == pytest.approx(unknown.mean())
    assert protocol["excluded targets"] == pytest.approx(_seen(parts.test).mean())


def test_coverage_is_of_the_models_catalogue(parts, popular, chance):
    some = evaluate(popular, parts.test, k=(1, 10)).coverage
    known = len(parts.train.vocabulary)
    top = popular.rank(parts.test, 10).top
    assert some["coverage@10"] == pytest.approx(len(set(top.ravel().tolist()) - {0}) / known)
    assert evaluate(chance, parts.test, k=known).coverage[f"coverage@{known}"] == 1


def test_sampled_ranking_is_easier_and_marked_everywhere(parts, popular, tmp_path):
    full = evaluate(popular, parts.test)
    sampled = evaluate(popular, parts.test, candidates="sampled-20")
    assert sampled.sampled and not full.sampled
    assert sampled.per_user["hr@10"].mean() > full.per_user["hr@10"].mean()
    assert not sampled.coverage
    assert sampled.protocol["candidates"] == "sampled-20"
    assert set(sampled.summary["candidates"]) == {"sampled-20"}
    assert "SAMPLED RANKING (sampled-20)" in str(sampled)
    assert "SAMPLED RANKING (sampled-20)" in sampled.to_html(tmp_path / "r.html").read_text()
    assert "sampled" in repr(sampled)
    assert "SAMPLED" not in str(full)


def test_lists_longer_than_the_catalogue_are_fine(parts, popular):
    report = evaluate(popular, parts.test, k=500, exclude_seen=False)
    assert (report.values("warm item")["hr@500"] == 1).all()


def test_what_is_not_queries_is_refused(parts, popular):
    with pytest.raises(DataError, match=r"split\.test"):
        evaluate(popular, parts)
    with pytest.raises(DataError, match="Histories"):
        evaluate(popular, parts.train)
    with pytest.raises(DataError, match="no queries"):
        evaluate(popular, parts.test.take(np.array([], dtype=int)))


def test_what_is_no_model_is_refused(parts, popular):
    for given, what in (
        ("runs/sasrec", "a str"),
        (None, "a NoneType"),
        (parts, "a Split"),
        (evaluate(popular, parts.test), "a Report"),
        (SASRec, "the class SASRec"),
        (SimpleNamespace(name="own", rank=print), r"a SimpleNamespace \(it has no vocabulary\)"),
    ):
        with pytest.raises(DataError, match=rf"evaluate got {what} where a model belongs; .*load"):
            evaluate(given, parts.test)


@pytest.mark.parametrize("k", [0, (), (5, -1), (2.5,), None, 1.5, "10", [1, None], np.array([0.5])])
def test_impossible_lengths_are_refused(parts, popular, k):
    with pytest.raises(SettingError, match=r"k=.*a whole number"):
        evaluate(popular, parts.test, k=k)


@pytest.mark.parametrize("k", [np.int64(3), (np.int32(1), 3), np.array([3, 1]), range(1, 4, 2)])
def test_lengths_may_be_whole_numbers_of_any_kind(parts, popular, k):
    protocol = evaluate(popular, parts.test, k=k).protocol
    assert protocol["k"] == ([3] if isinstance(k, np.integer) else [1, 3])
    assert all(type(cut) is int for cut in protocol["k"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: Ranking(r.ranks[1:], r.top), "shapes"),
        (lambda r: Ranking(r.ranks, r.top[:, 1:]), "shapes"),
        (lambda r: Ranking(r.ranks * np.nan, r.top), "NaN"),
        (lambda r: Ranking(np.zeros_like(r.ranks), r.top), "below 1"),
    ],
)
def test_a_ranker_that_breaks_its_contract_is_named(parts, popular, monkeypatch, change, message):
    rank = popular.rank
    monkeypatch.setattr(popular, "rank", lambda *args, **kwargs: change(rank(*args, **kwargs)))
    with pytest.raises(DataError, match=f"popular.*{message}"):
        evaluate(popular, parts.test)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_ranking_in_parts_changes_nothing_and_keeps_users_whole(parts, popular, monkeypatch, size):
    whole = evaluate(popular, parts.test)
    monkeypatch.setattr(module, "QUERIES_PER_PART", size)
    monkeypatch.setattr(module, "MOST_PARTS", len(parts.test))
    slices = module._parts(parts.test)
    assert len(slices) > 1
    assert [part.start for part in slices] == [0, *(part.stop for part in slices[:-1])]
    assert slices[-1].stop == len(parts.test)
    users = [set(parts.test.users[part]) for part in slices]
    assert sum(map(len, users)) == len(set().union(*users))
    in_parts = evaluate(popular, parts.test)
    assert_frame_equal(in_parts.per_stratum, whole.per_stratum)
    assert in_parts.coverage == whole.coverage and in_parts.protocol == whole.protocol
    sampled = [evaluate(popular, parts.test, candidates="sampled-9", seed=1)]
    monkeypatch.undo()
    sampled.append(evaluate(popular, parts.test, candidates="sampled-9", seed=1))
    assert_frame_equal(sampled[0].per_stratum, sampled[1].per_stratum)


def test_many_queries_make_larger_parts_and_no_more_of_them(parts, monkeypatch):
    monkeypatch.setattr(module, "QUERIES_PER_PART", 1)
    monkeypatch.setattr(module, "MOST_PARTS", 4)
    assert 1 < len(module._parts(parts.test)) <= 4


def test_progress_is_told_line_by_line_where_it_takes_time_and_wanted(
    parts, popular, monkeypatch, capsys
):
    monkeypatch.setattr(module, "QUERIES_PER_PART", 40)
    evaluate(popular, parts.test)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    evaluate(popular, parts.test, progress=False)
    assert capsys.readouterr().err == ""
    evaluate(popular, parts.test)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(module._parts(parts.test)) - 1
    assert lines[0].startswith(f"evaluate {popular.name}: ")
    assert f" of {len(parts.test):,} queries, about " in lines[0]


def test_a_terminal_gets_a_bar(parts, popular, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    evaluate(popular, parts.test)
    assert f"evaluate {popular.name}" in capsys.readouterr().err
