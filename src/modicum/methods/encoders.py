"""Encoders: a method by its word, for methods that are built around another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from modicum.errors import SettingError, nearest
from modicum.methods.finding import RECOMMENDERS, find_methods
from modicum.methods.network import SequenceNetwork
from modicum.methods.recommender import Recommender
from modicum.nn.table import ItemTable
from modicum.training.settings import WindowFields, check_types

METHOD = "method"
"""Key of the word in a table of settings."""
OWN_WAYS = ("before_training", "windows_of", "counted", "read")
"""What an encoder must do as every recommender does, because only its network is taken."""


@dataclass(kw_only=True)
class BuiltAround(WindowFields, Recommender):
    """A recommender around the network of another one.

    Args:
        encoder: word of a method, such as ``"sasrec"``, ``"gru4rec"`` or ``"bert4rec"``; a table of
            its settings with the word as ``"method"``; or a recommender, such as
            ``mo.SASRec(dim=32)``. How it is trained is said here.

    Raises:
        SettingError: the encoder is unknown, or has training fields of its own.
    """

    encoder: str | Mapping[str, Any] | Recommender = "sasrec"

    def __post_init__(self) -> None:
        self.encoder = encoder_of(self.encoder)

    @property
    def built_on(self) -> Recommender:
        """The encoder, with the training fields of this method."""
        assert isinstance(self.encoder, Recommender)
        return trained_as(self.encoder, self)

    def check(self) -> None:
        super().check()
        self.built_on.check()

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"encoder": settings_of(self.built_on)}

    def narrowed(self, kept: Mapping[str, int]) -> dict[str, Any]:
        encoder = self.built_on
        narrow = type(encoder)(**encoder.narrowed(kept))
        return self.settings() | {"encoder": settings_of(narrow)}


def encoder_of(given: str | Mapping[str, Any] | Recommender) -> Recommender:
    """Return the recommender whose network is to be built on.

    Args:
        given: its word; a table of its settings with the word as ``"method"``; or itself.

    Raises:
        SettingError: there is no such method or setting, one is of another type, or the method is
            more than its network.

    >>> encoder_of({"method": "sasrec", "dim": 32}).dim
    32
    >>> encoder_of("sasrek")
    Traceback (most recent call last):
    modicum.errors.SettingError: the encoder 'sasrek' is no recommender; did you mean 'sasrec'?
    """
    found = given if isinstance(given, Recommender) else _of_settings(given)
    if not _is_its_network(type(found)):
        raise SettingError(
            f"{found.name} is more than its network and cannot be an encoder; use "
            f"{', '.join(_encoders())}"
        )
    check_types(found)
    return found


def trained_as(encoder: Recommender, owner: WindowFields) -> Recommender:
    """Return the encoder with the training fields of the method that is built on it.

    Raises:
        SettingError: the encoder was given one of another value, which would not count.
    """
    shared = {field.name: field.default for field in fields(WindowFields)}
    own = {field.name for field in fields(encoder)} & set(shared)
    for name in sorted(own):
        value, counts = getattr(encoder, name), getattr(owner, name)
        if value not in (shared[name], counts):
            raise SettingError(
                f"{name}={value!r} of the encoder does not count: how it is trained is said to "
                f"{type(owner).__name__}, where {name}={counts!r}; give it there"
            )
    return replace(encoder, **{name: getattr(owner, name) for name in own})


def settings_of(encoder: Recommender) -> dict[str, Any]:
    """Return what ``encoder_of`` builds the same encoder from, as JSON values."""
    training = {field.name for field in fields(WindowFields)}
    own = {name: value for name, value in encoder.settings().items() if name not in training}
    return {METHOD: encoder.name} | own


def share_items(network: SequenceNetwork, items: ItemTable) -> None:
    """Make an encoder's network read a table that the network around it holds, once for all."""
    own = network.items
    if not isinstance(own, ItemTable) or own.dim != items.dim:
        raise SettingError("networks that share a table need item vectors of one width")
    del network.items
    vars(network)["items"] = items


def _is_its_network(method: type) -> bool:
    return all(getattr(method, way) is getattr(Recommender, way) for way in OWN_WAYS)


def _encoders() -> list[str]:
    """Return the words of the methods that can be built on."""
    methods = find_methods(*RECOMMENDERS)
    return [word for word, method in methods.items() if _is_its_network(method.load())]


def _of_settings(given: Any) -> Recommender:
    if not isinstance(given, str | Mapping):
        raise SettingError(
            f"encoder={given!r} is a {type(given).__name__}; give the word of a method, such as "
            "'sasrec', or a recommender"
        )
    settings = {METHOD: given} if isinstance(given, str) else dict(given)
    word, methods = settings.pop(METHOD, None), find_methods(*RECOMMENDERS)
    if word is None:
        raise SettingError(f"the encoder {given!r} does not say its {METHOD!r}")
    if str(word) not in methods:
        raise SettingError(
            f"the encoder {word!r} is no recommender; {nearest(str(word), _encoders())}"
        )
    method = methods[str(word)].load()
    known = [field.name for field in fields(method)]
    for name in settings:
        if name not in known:
            raise SettingError(f"{word} has no setting {name!r}; {nearest(str(name), known)}")
    made: Recommender = method(**settings)
    return made
