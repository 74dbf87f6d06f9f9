"""The best items of a user among many: exactly, or with a stated recall."""
