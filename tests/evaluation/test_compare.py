"""Comparisons: who is better, by how much, and when nothing can be said."""

import numpy as np
import polars as pl
import pytest

from modicum.data.split import split
from modicum.errors import DataError, SettingError
from modicum.evaluation.compare import FEWEST_USERS, compare
from modicum.evaluation.evaluate import evaluate
from modicum.evaluation.report import Report
from modicum.evaluation.statistics import bootstrap_interval, effect_size, holm, sign_flip_test


@pytest.fixture(scope="module")
def reports(parts, perfect, popular, chance):
    return {model.name: evaluate(model, parts.test) for model in (perfect, popular, chance)}


@pytest.fixture(scope="module")
def comparison(reports):
    return compare(reports)


def test_all_pairs_by_default(comparison, reports):
    table = comparison.table
    pairs = set(table.select("a", "b").iter_rows())
    assert pairs == {("perfect", "popular"), ("perfect", "chance"), ("popular", "chance")}
    assert set(table["metric"]) == {"ndcg@10", "hr@10"}
    assert table["stratum"].unique(maintain_order=True).to_list() == reports["perfect"].strata
    assert len(table) == 3 * 2 * len(reports["perfect"].strata)


def test_figures_are_those_of_the_users_differences(comparison, reports):
    row = comparison.table.row(
        by_predicate=(pl.col("metric") == "hr@10")
        & (pl.col("stratum") == "warm")
        & (pl.col("a") == "popular"),
        named=True,
    )
    a, b = (reports[name].values("warm")["hr@10"].to_numpy() for name in ("popular", "chance"))
    differences = (a - b)[:, None]
    low, high = bootstrap_interval(differences, seed=0)
    assert (row["mean_a"], row["mean_b"]) == pytest.approx((a.mean(), b.mean()))
    assert row["difference"] == pytest.approx((a - b).mean())
    assert (row["low"], row["high"]) == pytest.approx((low[0], high[0]))
    assert row["p"] == pytest.approx(sign_flip_test(differences, seed=0)[0], abs=0.02)
    assert row["effect"] == pytest.approx(effect_size(differences)[0])
    assert row["n"] == len(a)


def test_p_is_corrected_over_the_whole_table(comparison):
    tested = comparison.table.drop_nulls("p")
    np.testing.assert_allclose(tested["p_holm"], holm(tested["p"].to_numpy()))


def test_many_tests_can_still_find_a_difference(parts, perfect, popular):
    perfect, popular = (evaluate(model, parts.test) for model in (perfect, popular))
    many = {"perfect": perfect} | {f"popular {number}": popular for number in range(12)}
    comparison = compare(many, metrics=perfect.metrics, strata=["all", "warm"])
    assert comparison.flips > len(comparison.table) / 0.05
    best = comparison.table.filter(pl.col("a") == "perfect", pl.col("metric") == "hr@10")
    assert set(best["verdict"]) == {"perfect is better"}


def test_small_strata_are_shown_but_not_tested(comparison):
    table = comparison.table
    few = table.filter(pl.col("n") < FEWEST_USERS)
    assert len(few)
    assert set(few["verdict"]) == {"too few users"}
    assert (
        few["p"].null_count() == few["p_holm"].null_count() == few["low"].null_count() == len(few)
    )
    assert few["difference"].null_count() == 0
    assert table.filter(pl.col("n") >= FEWEST_USERS)["p"].null_count() == 0
    assert "Too few users to test: tail" in str(comparison)


def test_the_better_model_is_named(comparison):
    overall = comparison.table.filter(pl.col("stratum") == "all", pl.col("a") == "perfect")
    assert set(overall["verdict"]) == {"perfect is better"}
    assert "perfect is better than popular" in str(comparison)


def test_equal_models_do_not_differ(reports):
    table = compare({"one": reports["popular"], "two": reports["popular"]}).table
    assert set(table["verdict"]) == {"open", "too few users"}
    tested = table.drop_nulls("p")
    assert (tested["p"] == 1).all() and (tested["effect"] == 0).all()


def test_turning_a_pair_round_turns_the_signs(reports):
    names = ["popular", "chance"]
    one, other = (
        compare({name: reports[name] for name in order}).table for order in (names, names[::-1])
    )
    np.testing.assert_allclose(one["difference"], -other["difference"])
    np.testing.assert_allclose(one["low"].drop_nulls(), -other["high"].drop_nulls())
    assert one["p_holm"].equals(other["p_holm"])
    assert one["verdict"].equals(other["verdict"])


def test_metrics_strata_and_reference_can_be_chosen(reports):
    table = compare(reports, metrics=["mrr"], strata=["all", "warm"], reference="chance").table
    assert set(table.select("a", "b").iter_rows()) == {("perfect", "chance"), ("popular", "chance")}
    assert set(table["metric"]) == {"mrr"}
    assert len(table) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["ndgc@10"]}, r"did you mean 'ndcg@10'"),
        ({"strata": ["wram"]}, "did you mean 'warm'"),
        ({"reference": "popula"}, "did you mean 'popular'"),
    ],
)
def test_unknown_names_are_refused(reports, settings, message):
    with pytest.raises(SettingError, match=message):
        compare(reports, **settings)


def test_reports_of_other_protocols_are_refused(parts, popular, reports):
    one = reports["popular"]
    for settings, message in (
        ({"exclude_seen": False}, "exclude_seen: True and False"),
        ({"candidates": "sampled-20"}, "candidates: full catalogue and sampled-20"),
        ({"k": (1, 10)}, "k: "),
    ):
        with pytest.raises(DataError, match=message):
            compare({"one": one, "two": evaluate(popular, parts.test, **settings)})
    with pytest.raises(DataError, match="part: test and validation"):
        compare({"one": one, "two": evaluate(popular, parts.validation)})
    with pytest.raises(DataError, match="queries digest"):
        compare({"one": one, "two": evaluate(popular, parts.test.take(np.arange(50)))})
    with pytest.raises(DataError, match=r"two reports .* only 'one', however often it is named"):
        compare({"one": one})
    with pytest.raises(DataError, match=r"two reports .* none"):
        compare({})


def test_names_that_read_alike_are_refused(reports):
    one, two = list(reports.values())[:2]
    with pytest.raises(DataError, match="names that read alike: 1, '1'"):
        compare({1: one, "1": two})


@pytest.mark.parametrize("kind", [None, "runs/a", list, "frame"])
def test_what_is_not_reports_by_name_is_refused(reports, kind):
    given = {list: list(reports.values()), "frame": reports["popular"].summary}.get(kind, kind)
    with pytest.raises(DataError, match=r"compare got a .*; pass reports by name"):
        compare(given)


def test_what_is_no_report_is_named(reports, popular):
    for given in (popular, "runs/a", None):
        with pytest.raises(DataError, match=r"'two' is a \w+ where a report belongs"):
            compare({"one": reports["popular"], "two": given})


def test_names_may_be_numbers_and_metrics_must_be_a_list(reports):
    numbered = {1: reports["popular"], 2: reports["chance"]}
    assert "Comparison(1, 2" in repr(compare(numbered, metrics=["mrr"], strata=["all"]))
    against = compare(numbered, metrics=["mrr"], strata=["all"], reference=1)
    assert len(against.table) == 1
    for settings in ({"metrics": "mrr"}, {"strata": "all"}):
        with pytest.raises(SettingError, match="must be a list of names"):
            compare(reports, **settings)


def test_other_targets_are_refused(parts, popular, reports):
    first = split(parts.log, targets="first").test
    with pytest.raises(DataError, match="targets: all and first"):
        compare({"one": reports["popular"], "two": evaluate(popular, first)})


def test_other_users_are_refused(reports):
    one = reports["popular"]
    renamed = one.per_stratum.with_columns(user=pl.col("user") + 1000)
    with pytest.raises(DataError, match="users"):
        compare({"one": one, "two": Report(renamed, one.coverage, one.protocol)})


def test_the_seed_of_the_intervals_does_not_matter_but_that_of_candidates_does(parts, popular):
    full = [evaluate(popular, parts.test, seed=seed) for seed in (0, 1)]
    assert len(compare({"a": full[0], "b": full[1]}).table)
    sampled = [evaluate(popular, parts.test, candidates="sampled-20", seed=seed) for seed in (0, 1)]
    with pytest.raises(DataError, match="seed: 0 and 1"):
        compare({"a": sampled[0], "b": sampled[1]})


def test_page_shows_models_side_by_side_and_the_tests_in_words(comparison, tmp_path):
    page = comparison.to_html(tmp_path / "comparison.html").read_text()
    assert page.count("<svg") == 2
    assert "perfect is better than chance" in page
    assert "Holm" in page and "global time" in page


def test_sampled_comparisons_are_marked(parts, popular, chance, tmp_path):
    comparison = compare(
        {m.name: evaluate(m, parts.test, candidates="sampled-20") for m in (popular, chance)}
    )
    assert "SAMPLED RANKING" in str(comparison)
    assert "SAMPLED RANKING" in comparison.to_html(tmp_path / "c.html").read_text()


def test_a_report_that_does_not_render_is_not_compared_in_words(reports):
    bare = {name: Report(r.per_stratum, {}, {}) for name, r in reports.items()}
    with pytest.raises(DataError, match="not shown"):
        str(compare(bare))
