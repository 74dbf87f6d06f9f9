"""Event logs from files and frames: roles, ids, times, broken rows."""
