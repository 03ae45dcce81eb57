"""Finds the real data that development has beside the checkout and a user's machine has not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_data(relative: str) -> Path:
    """The path of a file or folder below ``../shared/data``.

    Skips the test with a word where it is absent; fails where CI=true and ``../shared`` is there without it.
    """
    path = SHARED / "data" / relative
    if path.exists():
        return path
    if os.environ.get("CI", "").lower() == "true" and SHARED.is_dir():
        pytest.fail(f"CI has {SHARED} but not data/{relative}")
    pytest.skip(f"needs the development data ../shared/data/{relative}")
