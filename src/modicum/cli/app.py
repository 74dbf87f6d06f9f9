"""``modicum VERB``: the verbs, and what becomes of errors, warnings and Ctrl-C.

A verb's file imports ``modicum``, whose names load on first use; so the command line loads what
the verb that was called needs, and nothing else.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from modicum import __version__
from modicum.cli.add_items import add_items
from modicum.cli.audit import audit
from modicum.cli.compare import compare
from modicum.cli.demo import demo
from modicum.cli.doctor import doctor
from modicum.cli.evaluate import evaluate
from modicum.cli.export import export
from modicum.cli.faces import faces
from modicum.cli.fit import fit, read_config
from modicum.cli.histories import histories
from modicum.cli.keys import keys
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
    config=read_config,
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
        except (CycloptsError, OSError) as error:
            _say("error", error)
            return 2
        except KeyboardInterrupt as stop:
            _say("stopped", str(stop) or "nothing was kept")
            return 130


def flags_of(tokens: Sequence[str] | None) -> set[str]:
    """Return the flags of the verb that ``tokens`` call."""
    *_, verb = app.parse_commands(tokens)[1]
    return {name for argument in verb.assemble_argument_collection() for name in argument.names}


def with_flags(message: str, flags: Collection[str]) -> str:
    """Put flags into a message in place of the arguments that they stand for in Python.

    >>> with_flags("learning_rate=0 must be above 0; by='time' is not", {"--learning-rate", "--by"})
    '--learning-rate 0 must be above 0; --by time is not'
    """

    def flag(found: re.Match[str]) -> str:
        name = f"--{found['name'].replace('_', '-')}"
        value = found["value"].strip("'(),").replace(", ", ",")
        return f"{name} {'none' if value == 'None' else value}" if name in flags else found[0]

    value = r"'[^']*'|\([^)]*\)|None\b|[^\s']"
    return re.sub(rf"\b(?P<name>[a-z_]+)=(?P<value>{value})", flag, message)


def _say(kind: str, message: object) -> None:
    print(f"modicum: {kind}: {' '.join(str(message).split())}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _say("warning", message)
