"""Run benchmarks side by side with peers: ``python benchmarks/run.py [NAME ...] [--rounds N]``.

The arms of a benchmark run in turn (A B C A B C ...), each in a process of its own, one thread
each unless the arm says otherwise. A peer whose environment was not set up is left out. Every run,
the medians and the ratios go to ``benchmarks/results/NAME.json``. A long benchmark that was cut off
goes on with the runs that it has not done, as long as commit and data are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import data
from arms import ROOT, Benchmark
from suite import BENCHMARKS

RESULTS = ROOT / "benchmarks" / "results"

COSTS = ("epoch_s", "fit_s", "fit_cpu_s", "seconds", "construct_s", "peak_mb", "added_mb")
RATES = (
    *("recommended_users_per_s", "evaluated_users_per_s", "rows_per_s"),
    *("split_events_per_s", "scored_events_per_s", "scored_users_per_s"),
    *("saturation_rps", "rps_within_50_ms", "rps_within_100_ms"),
)
RATIOS = (
    *("training_last_ratio", "training_all_ratio"),
    *("inference_1_ratio", "inference_64_ratio", "exported_1_ratio", "exported_64_ratio"),
    *("macd_epoch_ratio", "imvae_epoch_ratio", "macd_cold_ratio", "imvae_cold_ratio"),
    *("induced_field_ratio", "plain_field_ratio", "dynamic_epoch_ratio"),
    *("exact_1_median_ratio", "exact_1_p99_ratio", "exact_64_median_ratio", "exact_64_p99_ratio"),
    *("inverted_1_median_ratio", "inverted_1_p99_ratio", "recall"),
    *("sasrec_encoder_ratio", "gru4rec_encoder_ratio", "bert4rec_encoder_ratio"),
    *("p99_to_p50", "p50_s", "p95_s", "p99_s", "errors"),
    *("bytes_ratio", "ten_best_kept", "parity"),
    *("torch_encode_ms", "float32_encode_ms", "int8_encode_ms"),
    *("torch_recommend_ms", "float32_recommend_ms", "int8_recommend_ms"),
    *("torch_faces_per_s", "onnx_faces_per_s", "search_bare_ms", "search_masked_ms"),
)
SIZES = ("shard_bytes_per_event", "score_bytes_per_row", "float32_bytes", "int8_bytes")
FIGURES = (*COSTS, *RATES, *RATIOS, *SIZES, "ndcg", "cpu_share")


def run(name: str, benchmark: Benchmark, rounds: int) -> dict[str, Any]:
    """Run all rounds; a run that fails stops everything, so that no figure is left out quietly."""
    file = benchmark.file() if benchmark.file else None
    seen = str(file.relative_to(ROOT)) if file else ""
    measured = {"commit": commit(), "data": data.fingerprint(file) if file else None}
    kept = Kept(data.FOLDER / f"{name}-runs.json", measured) if benchmark.long else None
    runs = []
    for round_ in range(rounds):
        for arm in benchmark.arms(seen, round_):
            if not arm.available:
                print(f"  {arm.name}: not set up, left out (benchmarks/setup.sh)")
                continue
            about = {"arm": arm.name, "round": round_, "threads": arm.threads}
            figures = kept.find(about) if kept else None
            if figures is None:
                figures = arm.run()
                if kept:
                    kept.add(about, figures)
            runs.append(about | figures)
            print(f"  round {round_ + 1}/{rounds}  {arm.name}: {shown(summary([figures]))}")
    arms = {run["arm"]: [r for r in runs if r["arm"] == run["arm"]] for run in runs}
    return {
        "benchmark": name,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": measured["commit"],
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
        },
        "python": platform.python_version(),
        "data": {"file": file.name, "sha256": measured["data"]} if file else None,
        "arms": {a.name: a.command[1:] for a in benchmark.arms(seen, 0)},
        "medians": {name: summary(own) for name, own in arms.items()},
        "runs": runs,
    }


class Kept:
    """The runs of a long benchmark that are done, of one commit and data.

    Those of a changed working tree are not kept.
    """

    def __init__(self, path: Path, measured: dict[str, Any]) -> None:
        self.path, self.measured = path, measured
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.runs = kept["runs"] if kept.get("measured") == measured else []

    def find(self, about: dict[str, Any]) -> dict[str, Any] | None:
        """Return the figures of one arm in one round, None if it has not run."""
        return next((run["figures"] for run in self.runs if run["about"] == about), None)

    def add(self, about: dict[str, Any], figures: dict[str, Any]) -> None:
        self.runs.append({"about": about, "figures": figures})
        if not self.measured["commit"].endswith("-dirty"):
            aside = self.path.with_suffix(".aside")
            aside.write_text(json.dumps({"measured": self.measured, "runs": self.runs}))
            aside.replace(self.path)


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Median of each figure over all the values of all runs."""
    values = {
        figure: [x for run in runs for x in _listed(run[figure])]
        for figure in FIGURES
        if figure in runs[0]
    }
    return {figure: median(own) for figure, own in values.items() if own}


def _listed(value: Any) -> list[float]:
    return value if isinstance(value, list) else [value]


def ratios(medians: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """How many times better each arm of ours is than each other arm, by figure."""
    found = {}
    for ours in (name for name in medians if name.startswith("modicum")):
        for peer in (name for name in medians if not name.startswith("modicum")):
            mine, other = medians[ours], medians[peer]
            found[f"{ours} : {peer}"] = {
                figure: other[figure] / mine[figure]
                if figure in COSTS
                else mine[figure] / other[figure]
                for figure in (*COSTS, *RATES)
                if figure in mine and figure in other
            }
    return found


def shown(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:,.4g}" for name, value in figures.items())


def commit() -> str:
    """Return the commit, marked dirty if what is measured differs from it; records may."""
    measured = ["src", "benchmarks/*.py", "benchmarks/peers"]
    dirty = git("status", "--porcelain", "--", *measured)
    return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if dirty else "")


def git(*call: str) -> str:
    done = subprocess.run(["git", *call], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    everyday = [name for name, benchmark in BENCHMARKS.items() if not benchmark.long]
    parser = argparse.ArgumentParser(description="Run benchmarks side by side with peers.")
    parser.add_argument(
        "names", nargs="*", default=everyday, metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--rounds", type=int, help="how often the arms run in turn")
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in BENCHMARKS:
            parser.error(f"{name!r} is not known; known: {', '.join(BENCHMARKS)}")
    RESULTS.mkdir(exist_ok=True)
    for name in chosen.names:
        benchmark = BENCHMARKS[name]
        print(name)
        result = run(name, benchmark, chosen.rounds or benchmark.rounds)
        result["ratios"] = ratios(result["medians"])
        for pair, figures in result["ratios"].items():
            print(f"  {pair}: {shown(figures)}")
        path = RESULTS / f"{name}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
