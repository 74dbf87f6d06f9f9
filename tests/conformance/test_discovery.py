"""The suite covers every method that the package offers."""

import modicum
from modicum.methods.finding import RECOMMENDERS, find_methods
from modicum.methods.recommender import Recommender

from .conftest import METHODS


def test_every_word_of_the_command_line_is_tested():
    words = {
        word
        for word, found in find_methods(*RECOMMENDERS).items()
        if issubclass(found.load(), Recommender)
    }
    assert words == {method.__name__.lower() for method in METHODS}


def test_every_recommender_has_a_public_name():
    public = {getattr(modicum, name) for name in dir(modicum) if not name.startswith("_")}
    assert set(METHODS) <= public
