"""What all tests share: real data where it is there, and the same examples in every run."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("modicum", deadline=None, derandomize=True)
settings.load_profile("modicum")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    beside = Path(__file__).parents[1] / "../shared"
    folder = Path(os.environ.get("MODICUM_SHARED", beside)).resolve() / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there (set MODICUM_SHARED)")
    return folder
