import sys
import warnings
from typing import Annotated

import pytest
from cyclopts import Parameter

from modicum import __main__ as entry
from modicum.cli import app
from modicum.cli.app import main
from modicum.errors import DataError


@pytest.fixture
def failing(monkeypatch):
    """Make ``modicum doctor`` raise what the test wants."""

    def fail_with(error: BaseException) -> None:
        def fail() -> int:
            raise error

        monkeypatch.setattr(app.app["doctor"], "default_command", fail)

    return fail_with


def test_an_error_is_one_line_and_exit_code_2(failing, capsys):
    failing(DataError("row 3 is broken;\n  mend it"))
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "modicum: error: row 3 is broken; mend it\n"


@pytest.mark.parametrize(
    ("python", "prompt"),
    [
        ("k=(0,): such as k=(1, 5, 10)", "--k 0: such as --k 1,5,10"),
        ("name it with run=..., not by run=None", "name it with --run ..., not by --run none"),
        ("html='a b.html' is odd", "--html a b.html is odd"),
        ("histories=[[item, ...]] and dim=3 stay", "histories=[[item, ...]] and dim=3 stay"),
        ("say after={'like': 'click', 'hide': None}", "say --after like=click,hide"),
        ("say after={'like': None}; depths=[1, 2]", "say --after like; --depths 1,2"),
        ("start='runs/a' is another", "--from runs/a is another"),
    ],
)
def test_an_error_speaks_of_the_flags_of_its_verb(monkeypatch, capsys, python, prompt):
    def fail(
        run: str,
        *,
        k: int = 1,
        html: str = "",
        after: str = "",
        depths: str = "",
        start: Annotated[str, Parameter(name="--from")] = "",
    ) -> None:
        raise DataError(python)

    monkeypatch.setattr(app.app["evaluate"], "default_command", fail)
    assert main(["evaluate", "runs/a"]) == 2
    assert capsys.readouterr().err == f"modicum: error: {prompt}\n"


def test_an_unexpected_error_keeps_its_traceback(failing):
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_ctrl_c_says_what_was_kept_and_exits_with_130(failing, capsys):
    failing(KeyboardInterrupt("the checkpoint is kept in runs/a"))
    assert main(["doctor"]) == 130
    failing(KeyboardInterrupt())
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == (
        "modicum: stopped: the checkpoint is kept in runs/a\nmodicum: stopped: nothing was kept\n"
    )


def test_a_warning_is_one_line(monkeypatch, capsys):
    def warn() -> None:
        warnings.simplefilter("always")
        warnings.warn("this leaks", UserWarning, stacklevel=1)

    monkeypatch.setattr(app.app["doctor"], "default_command", warn)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().err == "modicum: warning: this leaks\n"


@pytest.mark.parametrize(
    ("tokens", "hint"),
    [
        (["audti"], '"audit"'),
        (["audit", "events.csv", "--users", "u"], "--user"),
        (["fit", "sasrek"], '"sasrec"'),
        (["fit", "sasrec", "events.csv", "--out", "x", "--layer", "3"], "--layers"),
    ],
)
def test_an_unknown_word_or_flag_names_the_nearest(tokens, hint, capsys):
    assert main(tokens) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"Did you mean {hint}?" in message


def test_the_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in ("audit", "fit", "evaluate", "compare", "recommend", "demo", "doctor"):
        assert f" {verb} " in text


@pytest.mark.parametrize(
    ("tokens", "named"),
    [
        (["score"], "MODEL"),
        (["score", "runs/a"], "EVENTS"),
        (["fit", "sasrec", "events.csv"], "--out"),
        (["fit", "sasrec", "--events"], "--events"),
    ],
)
def test_an_argument_that_is_missing_is_named_as_in_the_usage(tokens, named, capsys):
    assert main(tokens) == 2
    assert f" parameter {named} requires an argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    "tokens",
    [
        ["fit", "sasrec", "events.csv", "--out", "x", "--layers", "2.9"],
        ["fit", "llmrec", "events.csv", "--out", "x", "--backbone.layers", "2.0"],
        ["recommend", "runs/a", "--k", "0.5"],
        ["faces", "build", "photos", "masked", "--copies", "1.5"],
    ],
)
def test_a_fraction_is_no_whole_number_and_is_not_rounded(tokens, capsys):
    assert main(tokens) == 2
    *_, flag, value = tokens
    assert f'Invalid value for {flag}: unable to convert "{value}"' in capsys.readouterr().err


def test_ctrl_c_while_the_command_line_loads_is_one_line(monkeypatch, capsys):
    class Interrupted:
        @staticmethod
        def find_spec(name, *_):
            if name == "modicum.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "modicum.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    assert entry.main() == 130
    assert capsys.readouterr().err == "modicum: stopped: nothing was kept\n"
