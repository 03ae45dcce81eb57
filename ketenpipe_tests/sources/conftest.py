"""A small drop folder that tests change and break."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ketenpipe.sources.places import Inventory, discover

HEADER = "t,i,j,k,v,q"
ROWS = ["2022,528,842,010121,   12.500,    3.100", "2022,490,528,854143,1000.001,NA", "2022,56,528,010121,7,"]


class Drop:
    """A sources folder under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, relative: str, content: str | bytes, sidecar: dict[str, Any] | None = None) -> Path:
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        if path.suffix.lower() == ".gz" and raw[:2] != b"\x1f\x8b":
            raw = gzip.compress(raw)
        path.write_bytes(raw)
        if sidecar is not None:
            path.with_name(path.name + ".meta.json").write_text(json.dumps(sidecar))
        return path

    def baci(self, *rows: str, name: str = "BACI_HS17_Y2022_V202401b.csv", header: str = HEADER) -> Path:
        return self.put(f"baci/{name}", "\n".join([header, *(rows or ROWS)]) + "\n")

    def zip(self, relative: str, entries: dict[str, str | bytes]) -> Path:
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return path

    def inventory(self) -> Inventory:
        return discover(self.root)


@pytest.fixture
def drop(tmp_path: Path) -> Drop:
    return Drop(tmp_path / "drop")


@pytest.fixture
def traded(drop: Drop) -> Callable[[], Inventory]:
    """An inventory of the drop folder with one good BACI year in it."""

    def make() -> Inventory:
        drop.baci()
        return drop.inventory()

    return make
