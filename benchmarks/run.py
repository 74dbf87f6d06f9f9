"""Run benchmarks side by side with peers: ``python benchmarks/run.py [NAME ...] [--rounds N]``.

The arms of a benchmark run in turn (A B C A B C ...), each in a process of its own, one thread
each unless the arm says otherwise. A peer whose environment was not set up is left out. Every run,
the medians and the ratios go to ``benchmarks/results/NAME.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import data

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
OURS = Path(sys.executable)
PEERS = {
    name: ROOT / f".venv-{name}" / "bin" / "python"
    for name in ("rectools", "replay", "rechub", "smote-variants")
}

SASREC: dict[str, Any] = {
    "dim": 64,
    "layers": 2,
    "heads": 1,
    "dropout": 0.2,
    "lr": 0.001,
    "batch_size": 128,
}
STRICT = {"head": "float32", "attention_dropout": 0.2}
FAST = {"head": "bfloat16", "precision": "bfloat16", "attention_dropout": 0.0}

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


@dataclass(frozen=True)
class Arm:
    """One alternative: a command that prints its figures as JSON, or whose seconds are timed."""

    name: str
    command: tuple[str, ...]
    threads: int = 1
    prints: bool = True

    @property
    def available(self) -> bool:
        return Path(self.command[0]).exists()

    def run(self) -> dict[str, Any]:
        count = str(self.threads)
        threads = {f"{name}_NUM_THREADS": count for name in ("OMP", "MKL", "OPENBLAS")}
        threads["POLARS_MAX_THREADS"] = count
        begin = time.perf_counter()
        done = subprocess.run(
            self.command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begin
        if done.returncode:
            sys.exit(f"{self.name} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1]) if self.prints else {"seconds": [seconds]}


def script(name: str, python: Path, file: str, *, threads: int = 1, **task: Any) -> Arm:
    return Arm(name, (str(python), f"benchmarks/{file}", json.dumps(task)), threads)


@dataclass(frozen=True)
class Benchmark:
    """What runs in turn, ours first, how often, and on which file.

    ``arms(file, round)`` gives the arms of a round, the file as seen from the repository. Long
    benchmarks run only when named.
    """

    arms: Callable[[str, int], list[Arm]]
    rounds: int
    file: Callable[[], Path] | None = None
    long: bool = False


def sasrec(sample: str, length: int, *, epochs: int, long: bool = False) -> Benchmark:
    """SASRec on a sample; the round is the seed."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = SASREC | {"data": file, "length": length, "epochs": epochs}
        task |= {"evaluations": 1 if long else 3, "seed": round_}
        return [
            script("modicum strict", OURS, "sasrec_modicum.py", **task, arm=STRICT),
            script("modicum fast", OURS, "sasrec_modicum.py", **task, arm=FAST),
            *(
                script(name, PEERS[name], f"sasrec_{name}.py", **task)
                for name in ("rectools", "replay")
            ),
        ]

    return Benchmark(arms, 3, lambda: data.leave_last_out(sample, length), long)


def reading(num_events: int, peer: str, python: Path) -> Benchmark:
    """From parquet to split histories, on one thread and on all cores."""

    def arms(file: str, round_: int) -> list[Arm]:
        return [
            script(f"{name}{suffix}", binary, f"read_{name}.py", threads=threads, data=file)
            for threads, suffix in ((1, ""), (os.cpu_count() or 1, ", all cores"))
            for name, binary in (("modicum", OURS), (peer, python))
        ]

    return Benchmark(arms, 3, lambda: data.shuffled_events(num_events))


SMOLLM2 = {"layers": 30, "width": 576, "heads": 9, "kv_heads": 3, "hidden": 1536}
"""The shape of SmolLM2-135M."""


def slmrec(backbone: dict[str, int]) -> Benchmark:
    """SLMRec of four layers and its teacher take turns within one process."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"data": file, "length": 50, "batch_size": 32, "batches": 3, "seed": round_}
        task |= {"backbone": backbone, "rounds": 5, "calls": 100}
        return [script("modicum", OURS, "slmrec.py", **task)]

    return Benchmark(arms, 1, lambda: data.leave_last_out("ml-1m", 50))


def crossdomain(encoder: str) -> Benchmark:
    """MACD and IM-VAE take turns with the encoder that they are built on, within one process."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"data": file, "encoder": encoder, "length": 50, "seed": round_}
        return [script("modicum", OURS, "crossdomain.py", **task, rounds=3, calls=100)]

    return Benchmark(arms, 1, lambda: data.two_domains(10))


IMPRESSIONS = partial(data.impressions, 100_000, 24)


def mmoe() -> Benchmark:
    """MMoE on a table of categories, ours and that of torch-rechub, and APEM of equal parameters."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"data": file, "batch_size": 512, "epochs": 4, "seed": round_}
        shape = {"dim": 16, "hidden": 64, "experts": 4}
        ours = {"MMoE": shape, "APEM": {"dim": 16, "hidden": 190}}
        peers = {"rechub MMoE": True, "rechub MMoE, sliced": False}
        return [
            *(
                script(
                    f"modicum {name}", OURS, "mmoe_modicum.py", **task, method=name, settings=own
                )
                for name, own in ours.items()
            ),
            *(
                script(name, PEERS["rechub"], "mmoe_rechub.py", **task, settings=shape, loader=own)
                for name, own in peers.items()
            ),
        ]

    return Benchmark(arms, 3, IMPRESSIONS)


def set_attention() -> Benchmark:
    """Set attention of few and of many fields, in one process."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"batch_size": 64, "rounds": 20, "seed": round_}
        return [script("modicum", OURS, "set_attention.py", **task)]

    return Benchmark(arms, 3)


def dynamic_weights() -> Benchmark:
    """Inverse propensities with and without dynamic weights take turns within one process."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"data": file, "batch_size": 512, "rounds": 5}
        return [script("modicum", OURS, "dynamic_weights.py", **task)]

    return Benchmark(arms, 1, IMPRESSIONS)


def scoring() -> Benchmark:
    """A whole log through SASRec, in one process; an arm for each size of the catalogue."""

    def arms(file: str, round_: int) -> list[Arm]:
        model = {"dim": 64, "layers": 2, "heads": 2, "length": 50}
        task = {"users": 50_000, "events_per_user": 20, "shards": 5, "k": 10, "model": model}
        return [
            script(f"modicum {items:,} items", OURS, "scoring.py", **task, items=items, seed=round_)
            for items in (10_000, 100_000)
        ]

    return Benchmark(arms, 3)


def oversample() -> Benchmark:
    """Oversamplers on 100,000 rows of 50 features, one in a hundred of the rare class."""
    peer = PEERS["smote-variants"]
    arms_of = {
        "modicum EWMOTE": (OURS, "modicum", "EWMOTE", "modicum", 5),
        "modicum MWMOTE": (OURS, "modicum", "MWMOTE", "modicum", 3),
        "imbalanced-learn SMOTE": (OURS, "imblearn.over_sampling", "SMOTE", "imbalanced-learn", 5),
        "smote-variants MWMOTE": (peer, "smote_variants", "MWMOTE", "smote-variants", 1),
    }

    def arms(file: str, round_: int) -> list[Arm]:
        table = {"rows": 100_000, "features": 50, "rare": 0.01, "seed": round_}
        named = ("module", "arm", "package", "times")
        return [
            script(name, python, "oversample.py", **table, **dict(zip(named, own, strict=True)))
            for name, (python, *own) in arms_of.items()
        ]

    return Benchmark(arms, 3)


TRAINED = "runs/experiments/beauty/sasrec-0/model"
"""SASRec of ``experiments/beauty.toml``: its item vectors are what catalogues are made from."""


def topk(num_items: int, table: str, recall: float, *, long: bool = False) -> Benchmark:
    """The ten best of many items; searches and torch take turns within one process."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"model": TRAINED, "items": num_items, "table": table}
        task["least_recall"] = recall
        return [script("modicum", OURS, "topk.py", **task, calls=200, seed=round_)]

    return Benchmark(arms, 1, long=long)


def encoder() -> Benchmark:
    """Exported encoders and eager torch take turns within one process."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"items": 10_000, "length": 50, "calls": 300, "histories": 200, "seed": round_}
        return [script("modicum", OURS, "encoder.py", **task)]

    return Benchmark(arms, 1)


def serving() -> Benchmark:
    """A server with 100,000 items under load, on all cores: ours, and a plain one of torch's threads."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"items": 100_000, "connections": 64, "seconds": 6, "seed": round_}
        cores = os.cpu_count() or 1
        return [
            script(name, OURS, "serving.py", **task, workers=workers, threads=cores)
            for name, workers in (
                ("modicum", cores),
                ("modicum, one process", 1),
                ("torch and FastAPI", None),
            )
        ]

    return Benchmark(arms, 3, long=True)


def int8() -> Benchmark:
    """A student in the shape of SmolLM2 and SASRec: PyTorch, float32 and int8 take turns."""

    def arms(file: str, round_: int) -> list[Arm]:
        task = {"items": 12_101, "length": 50, "calls": 100}
        return [
            script(f"modicum {model}", OURS, "int8.py", **task, model=model)
            for model in ("student", "sasrec")
        ]

    return Benchmark(arms, 1)


def masked_faces() -> Benchmark:
    """Embeddings on all cores, in PyTorch and exported, and search among 100,000 enrolled."""

    def arms(file: str, round_: int) -> list[Arm]:
        cores = os.cpu_count() or 1
        task = {"faces": 16, "rounds": 5, "enrolled": 100_000, "searches": 50, "seed": round_}
        return [script("modicum", OURS, "masked_faces.py", **task, cores=cores, threads=cores)]

    return Benchmark(arms, 1)


def imports() -> Benchmark:
    """Whole processes, from start to exit."""
    statements = {
        "modicum": "import modicum",
        "modicum with polars": "import modicum; modicum.read_events",
        "modicum with torch": "import modicum; modicum.SASRec",
        "numpy and polars": "import numpy, polars",
        "torch": "import torch",
    }
    arms = [Arm(name, (str(OURS), "-c", code), 1, False) for name, code in statements.items()]
    arms.append(Arm("modicum --help", (str(OURS.with_name("modicum")), "--help"), 1, False))
    return Benchmark(lambda file, round_: arms, 15)


BENCHMARKS = {
    "sasrec-ml-1m": sasrec("ml-1m", 200, epochs=3),
    "sasrec-ml-100k": sasrec("ml-100k", 50, epochs=6),
    "quality-ml-1m": sasrec("ml-1m", 200, epochs=30, long=True),
    "quality-ml-100k": sasrec("ml-100k", 50, epochs=60, long=True),
    "read-20m": reading(20_000_000, "pandas", OURS),
    "read-5m": reading(5_000_000, "rectools", PEERS["rectools"]),
    "slmrec-256": slmrec({"layers": 32, "width": 256, "heads": 4}),
    "slmrec-128": slmrec({"layers": 32, "width": 128, "heads": 4}),
    "slmrec-smollm2": slmrec(SMOLLM2),
    "crossdomain-sasrec": crossdomain("sasrec"),
    "crossdomain-gru4rec": crossdomain("gru4rec"),
    "crossdomain-bert4rec": crossdomain("bert4rec"),
    "mmoe": mmoe(),
    "set-attention": set_attention(),
    "dynamic-weights": dynamic_weights(),
    "oversample": oversample(),
    "topk-100k": topk(100_000, "tiled", 0.98, long=True),
    "topk-1m": topk(1_000_000, "tiled", 0.98, long=True),
    "topk-1m-unclustered": topk(1_000_000, "unclustered", 0.98, long=True),
    "topk-10m": topk(10_000_000, "tiled", 0.985, long=True),
    "encoder": encoder(),
    "serving": serving(),
    "scoring": scoring(),
    "int8": int8(),
    "masked-faces": masked_faces(),
    "import": imports(),
}


def run(name: str, benchmark: Benchmark, rounds: int) -> dict[str, Any]:
    """Run all rounds; a run that fails stops everything, so that no figure is left out quietly."""
    file = benchmark.file() if benchmark.file else None
    seen = str(file.relative_to(ROOT)) if file else ""
    runs = []
    for round_ in range(rounds):
        for arm in benchmark.arms(seen, round_):
            if not arm.available:
                print(f"  {arm.name}: not set up, left out (benchmarks/setup.sh)")
                continue
            figures = arm.run()
            runs.append({"arm": arm.name, "round": round_, "threads": arm.threads} | figures)
            print(f"  round {round_ + 1}/{rounds}  {arm.name}: {shown(summary([figures]))}")
    arms = {run["arm"]: [r for r in runs if r["arm"] == run["arm"]] for run in runs}
    return {
        "benchmark": name,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
        },
        "python": platform.python_version(),
        "data": {"file": file.name, "sha256": data.fingerprint(file)} if file else None,
        "arms": {a.name: a.command[1:] for a in benchmark.arms(seen, 0)},
        "medians": {name: summary(own) for name, own in arms.items()},
        "runs": runs,
    }


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
