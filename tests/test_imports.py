"""What is loaded when, what is public, and what the sources must not contain."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import modicum as mo

ROOT = Path(__file__).parents[1]
SOURCES = sorted(Path(mo.__file__).parent.rglob("*.py"))
WITHOUT_TORCH = ("data", "debias", "evaluation")
PUBLIC = {
    *("errors", "read_events", "audit", "split", "load_sample", "evaluate", "compare", "load"),
    *("Popularity", "Transitions", "GRU4Rec", "SASRec", "BERT4Rec", "LLMRec", "SLMRec", "Decoder"),
    *("Report", "Split", "Merged", "MACD", "IMVAE"),
    *("debias", "read_ratings", "Ratings"),
    *("Naive", "IPS", "SNIPS", "IPSAT", "DR", "DRJL", "MRDRJL", "StableDR"),
    *("DynamicIPS", "DynamicDR"),
    *("Funnel", "SingleTask", "SharedBottom", "MMoE", "PLE", "PredictionReport", "Predictions"),
    *("ESMM", "AITM", "STEM", "APEM"),
    "faces",
    *("imbalance", "MWMOTE", "EWMOTE"),
}


def loaded(program: str) -> set[str]:
    """Return the top modules that a fresh interpreter has after running ``program``."""
    report = (
        "\nimport sys; print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program + report], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def modules(room: str) -> list[str]:
    root = Path(mo.__file__).parent
    files = sorted((root / room).rglob("*.py"))
    return [
        ".".join(("modicum", *path.relative_to(root).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in files
    ]


def test_import_modicum_loads_neither_torch_nor_polars():
    assert loaded("import modicum").isdisjoint({"torch", "polars", "numpy"})


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_of_tables_and_metrics_load_no_torch(room):
    assert "torch" not in loaded(f"import {', '.join(modules(room))}")


@pytest.mark.parametrize(
    "tokens", [["--help"], ["fit", "--help"], ["--version"], ["audit", "--help"]]
)
def test_help_loads_neither_torch_nor_polars(tokens):
    found = loaded(f"from modicum.cli.app import main\nassert main({tokens}) == 0")
    assert found.isdisjoint({"torch", "polars"})


def test_public_names_are_those_of_the_plan_and_resolve():
    assert set(mo.__all__) - {"__version__"} == PUBLIC
    for name in mo.__all__:
        assert getattr(mo, name) is not None
    with pytest.raises(AttributeError, match="SASrec"):
        mo.SASrec  # noqa: B018


@pytest.mark.parametrize("name", sorted(PUBLIC - {"errors"}))
def test_every_public_name_shows_an_example(name):
    assert ">>> " in getattr(mo, name).__doc__


@pytest.mark.parametrize("name", [m for m in modules("") if m != "modicum"])
def test_every_module_says_what_it_is_for(name):
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources_load_nothing_that_can_run_code(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"} & set(names)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "builtins.eval", "builtins.exec"), called
            if called == "torch.load":
                safe = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert safe.get("weights_only") == "True"
            allow_pickle = [w for w in node.keywords if w.arg == "allow_pickle"]
            assert all(ast.unparse(word.value) == "False" for word in allow_pickle)


def test_no_file_names_a_package_index():
    folders = [ROOT / name for name in (".ci", "src", "tests", "docs", "experiments", "benchmarks")]
    paths = [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    index = rb"https?://[^\s\"']*(pypi\.|pythonhosted|pytorch\.org/whl|/simple\b)|docker\.io"
    assert not [p for p in paths if p.is_file() and re.search(index, p.read_bytes())]
