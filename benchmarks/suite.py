"""The benchmarks by name, with their arms, tasks and data."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import data
from arms import ROOT, Arm, Benchmark, script

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
