"""What several test files share."""

from pathlib import Path

import pytest

from dataforge.media import MediaStore

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"


@pytest.fixture
def samples() -> Path:
    """The folder of real samples; the test is skipped where it isn't on this machine."""
    if not SAMPLES.is_dir():
        pytest.skip(f"no samples at {SAMPLES}")
    return SAMPLES


@pytest.fixture
def store(tmp_path: Path) -> MediaStore:
    return MediaStore(tmp_path / "media")
