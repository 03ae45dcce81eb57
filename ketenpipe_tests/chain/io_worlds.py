"""Small input-output tables for the tests of the industry layer: one by hand, and a strategy for random ones.

Belongs here: builders only. Output, demand and value added always balance.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from ketenpipe.sources.icio import IcioTable
from ketenpipe.sources.records import SourceRecord

RECORD = SourceRecord("icio", "t", "t", "v", 2020, 2020, "", 0, None, None, None, None, 0, 0, None)


def table(labels: list[tuple[str, str]], z: np.ndarray, output: np.ndarray, *, synthetic: bool = False) -> IcioTable:
    """A balanced table: demand and value added are what is left of output."""
    demand = (output - z.sum(axis=1))[:, None]
    nothing = np.zeros(len(output))
    added = output - z.sum(axis=0)
    return IcioTable(
        tuple(labels), z, demand, (("NLD", "HFCE"),), nothing, True, added, output, 2020, "test", synthetic, "v", RECORD
    )


CHAIN = table(
    [("NLD", "C10"), ("DEU", "C10"), ("CHN", "C10")],
    np.array([[0.0, 0, 0], [50.0, 0, 0], [10.0, 40.0, 0]]),
    np.array([100.0, 80.0, 60.0]),
)
"""NLD's 100 use 50 from DEU and 10 from CHN; DEU's 80 use 40 from CHN. L - I behind NLD: DEU .5, CHN .1 + .25."""


def random_table(seed: int, *, dead: bool = False) -> IcioTable:
    """Three countries, two industries; at most .8 of an output is bought and sold between industries.

    Args:
        dead: one industry has no output and no deliveries.
    """
    chance = np.random.default_rng(seed)
    z = chance.random((6, 6)) * (chance.random((6, 6)) < 0.7)
    output = np.maximum(z.sum(axis=0), z.sum(axis=1)) / 0.8 + chance.random(6)
    if dead:
        k = int(chance.integers(6))
        z[k], z[:, k], output[k] = 0, 0, 0
    labels = [(c, i) for c in ("CHN", "DEU", "NLD") for i in ("C10", "C20")]
    return table(labels, z * 100, output * 100)


@st.composite
def worlds(draw: st.DrawFn) -> IcioTable:
    """Random tables, one in three of them with an industry without output."""
    return random_table(draw(st.integers(0, 10**6)), dead=draw(st.integers(0, 2)) == 0)


@st.composite
def living_worlds(draw: st.DrawFn) -> IcioTable:
    """Random tables in which every industry has output."""
    return random_table(draw(st.integers(0, 10**6)))


def technical_coefficients(z: np.ndarray, output: np.ndarray) -> np.ndarray:
    """``A = Z diag(1/x)`` for the dense oracles; a column without output is 0."""
    scale = np.divide(1.0, output, out=np.zeros(len(output)), where=output > 0)
    return z * scale[np.newaxis, :]
