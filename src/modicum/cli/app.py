"""``modicum VERB``: the verbs, and what becomes of errors, warnings and Ctrl-C.

A verb's file imports ``modicum``, whose names load on first use; so the command line loads what
the verb that was called needs, and nothing else.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cyclopts import App, CycloptsError, MissingArgumentError

from modicum import __version__
from modicum.cli.add_items import add_items
from modicum.cli.audit import audit
from modicum.cli.compare import compare
from modicum.cli.demo import demo
from modicum.cli.doctor import doctor
from modicum.cli.evaluate import evaluate
from modicum.cli.export import export
from modicum.cli.faces import faces
from modicum.cli.fit import fit
from modicum.cli.histories import histories
from modicum.cli.keys import keys
from modicum.cli.options import read_config, refuse_fractions
from modicum.cli.predict import predict
from modicum.cli.prune import prune
from modicum.cli.recommend import recommend
from modicum.cli.resample import resample
from modicum.cli.score import score
from modicum.cli.serve import serve
from modicum.cli.watch import watch
from modicum.errors import ModicumError

VERBS: tuple[Callable[..., Any], ...] = (
    add_items,
    audit,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    faces,
    fit,
    histories,
    keys,
    predict,
    prune,
    recommend,
    resample,
    score,
    serve,
    watch,
)

app = App(
    name="modicum",
    help="""Learn well from little: audit an event log, fit a small recommender, judge it honestly.

    Exit codes: 0 done; 1 done, and something is wrong with the data or the machine; 2 the job
    could not be done, and the message says why; 130 stopped by Ctrl-C. `watch` has two more.
    """,
    version=__version__,
    config=(read_config, refuse_fractions),
    result_action="return_int_as_exit_code_else_zero",
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
)
for verb in VERBS:
    app.command(verb)
app.command(
    "modicum.cli.depth_study:command",  # its flags are the fields of LLMRec, which loads torch
    name="depth-study",
    help="Train a decoder to several depths, leave the deepest early, and compare.",
)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command line on ``tokens`` (the process's own if None) and return the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return int(app(tokens))
        except BrokenPipeError:  # the reader, such as head, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except ModicumError as error:
            _say("error", with_flags(str(error), flags_of(tokens)))
            return 2
        except MissingArgumentError as error:
            if error.argument is not None and error.argument.field_info.is_positional:
                error.keyword = error.keyword or error.argument.name.lstrip("-").upper()
            _say("error", error)
            return 2
        except (CycloptsError, OSError) as error:
            _say("error", error)
            return 2
        except KeyboardInterrupt as stop:
            _say("stopped", str(stop) or "nothing was kept")
            return 130


def flags_of(tokens: Sequence[str] | None) -> dict[str, str]:
    """Return argument -> flag of the verb that ``tokens`` call."""
    *_, verb = app.parse_commands(tokens)[1]
    arguments = verb.assemble_argument_collection()
    return {x.field_info.name: x.name for x in arguments if "." not in x.name}


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """Put flags into a message in place of the arguments that they stand for in Python.

    >>> flags = {"learning_rate": "--learning-rate", "by": "--by", "after": "--after"}
    >>> with_flags("learning_rate=0 must be above 0; by='time' is not", flags)
    '--learning-rate 0 must be above 0; --by time is not'
    >>> with_flags("say after={'like': 'click', 'hide': None}", flags)
    'say --after like=click,hide'
    """

    def flag(found: re.Match[str]) -> str:
        if found["name"] not in flags:
            return found[0]
        value = re.sub(r": None|'", "", found["value"].strip("(),[]{}"))
        value = value.replace(": ", "=").replace(", ", ",")
        return f"{flags[found['name']]} {'none' if value == 'None' else value}"

    value = r"'[^']*'|\([^)]*\)|\[[^][]*\]|\{[^}]*\}|None\b|[^\s']"
    return re.sub(rf"\b(?P<name>[a-z_]+)=(?P<value>{value})", flag, message)


def _say(kind: str, message: object) -> None:
    print(f"modicum: {kind}: {' '.join(str(message).split())}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _say("warning", message)
