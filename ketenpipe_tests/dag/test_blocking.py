"""A blocking check that fails stops the run: one sentence, and what was published stays as it was."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from ketenpipe.chain import tracing as chain_tracing
from ketenpipe.dag.assets import chain as chain_assets
from ketenpipe.dag.run import run_pipeline
from ketenpipe.errors import ContractBroken
from ketenpipe.settings import load_settings
from ketenpipe.tables.registry import SUPPLY_MIX


def test_shares_that_do_not_add_up_publish_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = chain_tracing.build_tracing

    def leaking(*arguments: object, **named: object) -> chain_tracing.Tracing:
        traced = real(*arguments, **named)  # type: ignore[arg-type]
        at = SUPPLY_MIX.names.index("share_traced")
        halved = pc.multiply(traced.supply_mix.column("share_traced"), 0.5)
        mix = traced.supply_mix.set_column(at, SUPPLY_MIX.column("share_traced").field(), halved)
        return chain_tracing.Tracing(traced.production, traced.origin_mix, traced.tracing, mix)

    monkeypatch.setattr(chain_assets, "build_tracing", leaking)
    with pytest.raises(ContractBroken, match="share_traced"):
        run_pipeline(load_settings(home=tmp_path, years="2022", focus=("NLD",)))
    assert not (tmp_path / "releases").exists()
    assert not (tmp_path / "ketenpipe.duckdb").exists()
