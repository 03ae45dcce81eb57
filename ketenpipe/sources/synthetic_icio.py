"""A small, balanced, made-up input-output table in the layout of the OECD ICIO 2025 (SML), from a seed.

A real table may not be shipped; this one lets the industry layer run from the first minute. Its figures say
nothing about the world: its file is named SYNTHETIC, everything derived from it carries ``basis = synthetic``
    and raises no flag.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SEED = 20252
YEAR = 2022
#: Region and the scale of its output (million USD), a rough order of size only.
REGIONS: dict[str, float] = {
    "BEL": 1.2e6,
    "CHN": 4.2e7,
    "DEU": 8.0e6,
    "GBR": 5.6e6,
    "JPN": 8.2e6,
    "NLD": 2.0e6,
    "USA": 4.4e7,
    "ROW": 7.0e7,
}
INDUSTRIES: tuple[str, ...] = (
    *(
        "A01",
        "A02",
        "A03",
        "B05",
        "B06",
        "B07",
        "B08",
        "B09",
        "C10T12",
        "C13T15",
        "C16",
        "C17_18",
        "C19",
        "C20",
    ),
    *("C21", "C22", "C23", "C24A", "C24B", "C25", "C26", "C27", "C28", "C29", "C301", "C302T309", "C31T33"),
    *("D", "E", "F", "G", "H49", "H50", "H51", "H52", "H53", "I", "J58T60", "J61", "J62_63", "K", "L", "M"),
    *("N", "O", "P", "Q", "R", "S", "T"),
)
FINAL_DEMAND: tuple[str, ...] = ("HFCE", "NPISH", "GGFC", "GFCF", "INVNT", "DPABR")
#: Industries that stand still: no output, no inputs, no customers. Real tables have such rows too.
IDLE: tuple[tuple[str, str], ...] = (
    ("NLD", "B05"),
    ("NLD", "B07"),
    ("BEL", "B06"),
    ("JPN", "T"),
    ("CHN", "T"),
)

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SyntheticTable:
    """The table in whole thousandths of a million USD, so that it balances exactly."""

    labels: tuple[str, ...]
    final_labels: tuple[str, ...]
    Z: _Ints
    Y: _Ints
    TLS: _Ints
    VA: _Ints
    OUT: _Ints


def make(seed: int = SEED) -> SyntheticTable:
    """Makes the table: recipes and final demand from the seed, output by summing the rounds of demand.

    Rows: ``Z1 + Y1 = OUT``; columns: ``1'Z + TLS + VA = OUT``, both exactly in thousandths. Only uniform
    random numbers and elementwise sums are used, and results are rounded to tenths of a million USD.

    Returns:
        n = 8 regions x 50 industries = 400 rows, 8 x 6 final demand columns.
    """
    rng = np.random.default_rng(seed)
    regions, industries = list(REGIONS), list(INDUSTRIES)
    r, s, f = len(regions), len(industries), len(FINAL_DEMAND)
    labels = tuple(f"{c}_{i}" for c in regions for i in industries)
    idle = np.array([tuple(x.split("_", 1)) in IDLE for x in labels])
    goods = np.array([not i.startswith(tuple("DEFGHIJKLMNOPQRST")) for i in industries])
    scale = np.array([REGIONS[c] for c in regions])

    # A recipe per using industry: every input a little, a few inputs much; 35 to 65 % of output for goods,
    # less else.
    recipe = rng.random((s, s)) ** 6 + 0.002
    recipe[np.arange(s), np.arange(s)] += 0.6
    recipe[:, industries.index("T")] = 0.0
    intermediate = np.where(goods, 0.45 + 0.20 * rng.random(s), 0.28 + 0.20 * rng.random(s))
    total = recipe.sum(axis=0)
    recipe = np.where(total > 0, recipe * intermediate / np.where(total > 0, total, 1.0), 0.0)

    # Origin of an input: home share by kind of product and size of country, the rest by size and chance.
    home = np.where(goods[None, :], 0.45, 0.90) * (0.55 + 0.45 * (scale / scale.max())[:, None] ** 0.15)
    attraction = scale[:, None, None] ** 0.7 * (0.15 + rng.random((r, s, r)) ** 3)
    for country in range(r):
        attraction[country, :, country] = 0.0
    alive = (~idle).reshape(r, s)
    attraction *= alive[:, :, None]
    abroad = attraction / attraction.sum(axis=0, keepdims=True)
    origin = abroad * (1.0 - home.T)[None, :, :]
    for country in range(r):
        origin[country, :, country] = np.where(alive[country], home[country], 0.0)
    origin = origin / origin.sum(axis=0, keepdims=True)  # [supplier, product, user country]

    # origin[c, p, d] * recipe[p, j], as rows (c, p) and columns (d, j).
    a = (origin[:, :, :, None] * recipe[None, :, None, :]).reshape(r * s, r * s)
    a[:, idle] = 0.0
    a[idle, :] = 0.0

    # Final demand by component, then output as the sum of the rounds of demand.
    weight = rng.random((s, f)) ** 2 + 0.02
    weight[:, FINAL_DEMAND.index("INVNT")] *= 0.05
    weight[:, FINAL_DEMAND.index("DPABR")] *= 0.10
    demand = scale[:, None, None] * 0.5 * (weight / weight.sum())[None, :, :]
    y = (origin[:, :, :, None] * demand.transpose(1, 0, 2)[None, :, :, :]).reshape(r * s, r * f)
    falling = rng.random((r * s, r)) < 0.3
    for country in range(r):
        at = country * f + FINAL_DEMAND.index("INVNT")
        y[:, at] = np.where(falling[:, country], -y[:, at], y[:, at])
    y[idle, :] = 0.0
    x = y.sum(axis=1)
    for _ in range(200):
        x = y.sum(axis=1) + (a * x[None, :]).sum(axis=1)
    tax = 0.005 + 0.015 * rng.random(r * s)

    z_int = np.rint(a * x[None, :] * 10).astype(np.int64) * 100
    y_int = np.rint(y * 10).astype(np.int64) * 100
    out = z_int.sum(axis=1) + y_int.sum(axis=1)
    tls = np.rint(tax * z_int.sum(axis=0) / 100).astype(np.int64) * 100
    va = out - z_int.sum(axis=0) - tls
    final_labels = tuple(f"{c}_{d}" for c in regions for d in FINAL_DEMAND)
    return SyntheticTable(labels, final_labels, z_int, y_int, tls, va, out)


def _cell(thousandths: int) -> str:
    if thousandths == 0:
        return "0"
    sign, whole = ("-" if thousandths < 0 else ""), abs(thousandths)
    return f"{sign}{whole // 1000}.{whole % 1000:03d}".rstrip("0").rstrip(".")


def to_csv(table: SyntheticTable) -> bytes:
    """The table in the native layout: ``V1``, the Z block, six final demand columns per region, ``OUT``; then
    the rows ``TLS``, ``VA``, ``OUT``. Taxes on final demand are 0, as are value added and output there in the
    row sums."""
    text = io.StringIO()
    text.write(",".join(("V1", *table.labels, *table.final_labels, "OUT")) + "\n")
    for at, label in enumerate(table.labels):
        cells = [*table.Z[at].tolist(), *table.Y[at].tolist(), int(table.OUT[at])]
        text.write(",".join((label, *map(_cell, cells))) + "\n")
    zeros = [0] * len(table.final_labels)
    for name, row, final in (
        ("TLS", table.TLS, zeros),
        ("VA", table.VA, zeros),
        ("OUT", table.OUT, table.Y.sum(axis=0).tolist()),
    ):
        total = int(row.sum()) + (sum(final) if name != "OUT" else 0)
        text.write(",".join((name, *map(_cell, row.tolist()), *map(_cell, final), _cell(total))) + "\n")
    return text.getvalue().encode("ascii")
