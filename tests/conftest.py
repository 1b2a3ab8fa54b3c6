"""What several test files share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from dataforge.media import MediaStore
from dataforge.workers import default_count

# Several tests run at once, with models too small for threads; it must be said before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The same examples in every run; `pytest --hypothesis-profile explore` searches at random for new ones.
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("seeded")
SAMPLES = Path(__file__).parents[2] / "shared" / "samples"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, as many tests wait for a process or a server; a worker takes up to 2 GB."""
    return min(default_count() + 1, 8)


@pytest.fixture
def samples() -> Path:
    """The folder of real samples; the test is skipped where it isn't on this machine."""
    if not SAMPLES.is_dir():
        pytest.skip(f"no samples at {SAMPLES}")
    return SAMPLES


@pytest.fixture
def store(tmp_path: Path) -> MediaStore:
    return MediaStore(tmp_path / "media")
