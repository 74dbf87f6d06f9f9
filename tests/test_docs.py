"""The documentation: its code runs, its commands parse, its links lead somewhere."""

import re
import shlex
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from cyclopts import CycloptsError, MissingArgumentError

import modicum as mo
from modicum.cli.app import app
from modicum.data.simulate import simulate_markov
from modicum.methods.finding import CONVERSION, RECOMMENDERS, find_methods

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANY_METHOD = "sasrec"
METHODS = find_methods(*RECOMMENDERS, *CONVERSION)
RATERS = find_methods("rating")
PAGES_OF_OTHERS = {"mwmote", "ewmote", "masked-faces"}
"""What `modicum fit` does not fit, beside raters."""


def blocks(page: str, language: str) -> list[str]:
    return [code for found, code in FENCE.findall(PAGES[page]) if found == language]


def commands(page: str) -> list[str]:
    """Return the ``modicum ...`` lines of the blocks, comments included."""
    code = "\n".join(code for _, code in FENCE.findall(PAGES[page]))
    return re.findall(r"^(?:# \S+: )?(modicum [a-z].*)$", code, re.MULTILINE)


def mentions(page: str) -> list[str]:
    """Return the commands inside sentences, which may be short of arguments."""
    return re.findall(r"`(modicum [a-z][^`]*)`", FENCE.sub("", PAGES[page]))


def parse(line: str) -> None:
    _, *tokens = shlex.split(re.sub(r"\b(METHOD|NAME)\b", ANY_METHOD, line), comments=True)
    app.parse_args(tokens)


def those_with(find) -> list[str]:
    """Return the pages for a person who uses the project in which something is found."""
    for_users = [
        page for page in PAGES if page.startswith(("README", "docs/guides", "docs/methods"))
    ]
    return [page for page in for_users if find(page)]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder to work in, with the events and the settings that the pages speak of."""
    log = simulate_markov(40, 12, events_per_user=15, span_days=60, seed=0).log
    pl.DataFrame(
        {
            "user_id": log.frame["user"],
            "asin": "sku-" + log.frame["item"].cast(pl.String),
            "timestamp": log.frame["time"].dt.epoch("s"),
        }
    ).write_csv(tmp_path / "events.csv.gz", compression="gzip")
    (settings,) = blocks("docs/guides/first-recommender.md", "toml")
    (tmp_path / "settings.toml").write_text(settings, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", those_with(lambda page: blocks(page, "python")))
def test_python_on_a_page_runs(page, project):
    names: dict = {}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)


@pytest.mark.parametrize("page", those_with(commands))
def test_commands_on_a_page_are_understood(page, project):
    for line in commands(page):
        parse(line)


@pytest.mark.parametrize("page", those_with(mentions))
def test_commands_in_sentences_exist(page):
    for line in mentions(page):
        with suppress(MissingArgumentError):
            parse(line)


@pytest.mark.parametrize("line", ["modicum audti", "modicum fit METHOD --layer 3"])
def test_a_word_or_flag_that_does_not_exist_would_be_found(line):
    with pytest.raises(CycloptsError, match="Did you mean"):
        parse(line)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", PAGES[page]))
    local = [link.partition("#")[0] for link in links if not re.match(r"\w+:", link)]
    missing = [link for link in local if link and not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing


def test_every_method_has_its_page_and_every_page_its_method():
    pages = {path.stem for path in ROOT.glob("docs/methods/*.md")} - PAGES_OF_OTHERS
    assert pages == {*METHODS, *RATERS}


@pytest.mark.parametrize("word", [*METHODS, *RATERS])
def test_a_page_bears_the_name_of_its_class_and_says_where_the_settings_are(word):
    name, text = (METHODS | RATERS)[word].name, PAGES[f"docs/methods/{word}.md"]
    assert text.startswith(f"# {name}\n")
    assert f"`modicum fit {word} --help`" in text or word in RATERS
    assert getattr(mo, name).__name__ == name
    assert f"mo.{name}(" in text


@pytest.mark.parametrize("folder", ["guides", "methods"])
def test_the_index_names_every_page(folder):
    for path in ROOT.glob(f"docs/{folder}/*.md"):
        assert f"({folder}/{path.name})" in PAGES["docs/index.md"]
