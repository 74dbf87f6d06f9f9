"""The same jobs on more than fits into memory, and on more than one machine."""
