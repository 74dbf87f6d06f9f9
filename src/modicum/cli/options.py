"""Options before they are converted: those of a TOML file, and numbers that are not rounded."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from cyclopts import App, ArgumentCollection, CoercionError
from cyclopts.config import Dict

from modicum.errors import SettingError, nearest


def read_config(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill what the command line leaves open from the TOML file that ``--config`` names.

    Raises:
        SettingError: there is no such file, it is no TOML, or a key is no option.
    """
    token = next((a.tokens[0] for a in arguments if a.name == "--config" and a.tokens), None)
    if token is None:
        return
    path = Path(token.value)
    if not path.is_file():
        raise SettingError(f"--config {path}: there is no such file; check the path")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingError(f"--config {path}: this is no TOML: {error}") from None
    flags = {name for argument in arguments for name in argument.names if name.startswith("--")}
    known = {flag.removeprefix("--") for flag in flags - {"--config"}}
    for key in _keys(found):
        if key.replace("_", "-") not in known:
            table, _, last = key.rpartition(".")
            of_table = any(name.startswith(f"{table}.") for name in known)
            hint = nearest(key if of_table else last, known)
            raise SettingError(f"--config {path}: no option is called {key!r}; {hint}")
    Dict(found, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


def refuse_fractions(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse a fraction where a whole number is asked for, which would be rounded.

    Raises:
        CoercionError: there is one.
    """
    for argument in arguments:
        kinds = (argument.hint, *get_args(argument.hint))
        for token in argument.tokens if int in kinds and float not in kinds else ():
            if "." in token.value:
                raise CoercionError(token=token, argument=argument, target_type=int)


def _keys(table: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of a table, those of tables in it behind theirs and a dot.

    >>> list(_keys({"seed": 1, "backbone": {"layers": 4}, "empty": {}}))
    ['seed', 'backbone.layers', 'empty']
    """
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from (f"{key}.{inner}" for inner in _keys(value))
        else:
            yield key
