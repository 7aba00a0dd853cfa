"""What every test may use: the shared test data, where it lies beside the checkout."""

from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real slides, patches and evaluation vectors; skips where it is missing."""
    if not _SHARED_DATA.is_dir():
        pytest.skip("test data is missing: the folder shared/data is expected beside the checkout")
    return _SHARED_DATA
