"""Recommenders of the next item, from the order of a user's events."""
