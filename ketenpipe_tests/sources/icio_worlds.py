"""Made-up, exactly balanced input-output tables of any size, and a writer for every layout that is read.

Belongs here: worlds for tests and benchmarks of the reader and the audit. Amounts are whole millionths of a million
USD, so that rows and columns balance to the last digit. Nothing here says anything about the world.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

Ints = npt.NDArray[np.int64]

MICRO = 1_000_000
#: Split countries of the extended tables: parent to children.
SPLIT = {"CHN": ("CN1", "CN2"), "MEX": ("MX1", "MX2")}
INDUSTRIES = {
    "2018": ["01T03", "05T06", "07T08", "09", "10T12", "13T15", "16", "17T18"],
    "2021": ["01T02", "03", "05T06", "07T08", "10T12", "17T18"],
    "2023": ["A01_02", "A03", "B05_06", "C10T12", "C17_18", "T"],
    "2025": ["A01", "B05", "C10T12", "C17_18", "C24A", "C24B", "C302T309", "T"],
    "wiod": [f"c{n}" for n in range(1, 36)],
}
FINAL = {
    "2018": ["HFCE", "NPISH", "GGFC", "GFCF", "INVNT", "P33"],
    "2021": ["HFCE", "NPISH", "GGFC", "GFCF", "INVNT", "DPABR"],
    "2023": ["HFCE", "NPISH", "GGFC", "GFCF", "INVNT", "DPABR"],
    "2025": ["HFCE", "NPISH", "GGFC", "GFCF", "INVNT", "DPABR"],
    "wiod": ["c37", "c38", "c39", "c41", "c42"],
}


@dataclass(frozen=True)
class World:
    """A balanced table in whole millionths: ``Z1 + Y1 = OUT`` and ``1'Z + TLS + VA = OUT``, exactly."""

    labels: tuple[tuple[str, str], ...]
    final_labels: tuple[tuple[str, str], ...]
    Z: Ints
    Y: Ints
    TLS: Ints
    VA: Ints
    OUT: Ints


def make_world(
    countries: list[str],
    industries: list[str],
    components: list[str],
    *,
    seed: int = 1,
    output: float = 1.5e8,
    taxes: bool = True,
) -> World:
    """A dense world whose output adds up to about ``output`` million USD; half of it is bought as inputs."""
    rng = np.random.default_rng(seed)
    n, m = len(countries) * len(industries), len(countries) * len(components)
    size = rng.lognormal(0.0, 1.2, n)
    size *= output / size.sum()
    z = (0.5 * size[:, None] * (size / size.sum())[None, :]) * rng.uniform(0.3, 1.7, (n, n))
    y = rng.dirichlet(np.full(m, 2.0), n)
    inventories = [k for k in range(m) if components[k % len(components)] in ("INVNT", "c42")]
    y[:, inventories] *= rng.choice([-0.2, 0.2], (n, len(inventories)))
    y *= ((size - z.sum(axis=1)) / y.sum(axis=1))[:, None]
    z_int, y_int = np.rint(z * MICRO).astype(np.int64), np.rint(y * MICRO).astype(np.int64)
    out = z_int.sum(axis=1) + y_int.sum(axis=1)
    tls = np.rint(out * rng.uniform(0.001, 0.01, n)).astype(np.int64) if taxes else np.zeros(n, np.int64)
    return World(
        tuple((c, i) for c in countries for i in industries),
        tuple((c, f) for c in countries for f in components),
        z_int,
        y_int,
        tls,
        out - z_int.sum(axis=0) - tls,
        out,
    )


def extend(world: World, seed: int = 2) -> World:
    """The same world in the extended layout: CHN and MEX stay as rows and columns of zeros, what they make and buy
    stands under CN1, CN2, MX1, MX2 (appended); their final demand stays under CHN and MEX."""
    rng = np.random.default_rng(seed)
    labels, z, y = list(world.labels), world.Z, world.Y
    tls = world.TLS
    for parent, children in SPLIT.items():
        at = np.array([k for k, (c, _) in enumerate(labels) if c == parent])
        share = rng.uniform(0.2, 0.8, len(at))
        old = z.shape[0]
        first = np.rint(z[at] * share[:, None]).astype(np.int64)
        first_y = np.rint(y[at] * share[:, None]).astype(np.int64)
        z, y = np.vstack([z, first, z[at] - first]), np.vstack([y, first_y, y[at] - first_y])
        z[at], y[at] = 0, 0
        left = np.rint(z[:, at] * share[None, :]).astype(np.int64)
        z = np.hstack([z, left, z[:, at] - left])
        z[:, at] = 0
        tls_first = np.rint(tls[at] * share).astype(np.int64)
        tls = np.concatenate([tls, tls_first, tls[at] - tls_first])
        tls[at] = 0
        labels += [(child, labels[k][1]) for child in children for k in at]
        assert len(labels) == old + 2 * len(at) == len(z)
    out = z.sum(axis=1) + y.sum(axis=1)
    return replace(world, labels=tuple(labels), Z=z, Y=y, TLS=tls, VA=out - z.sum(axis=0) - tls, OUT=out)


def write_csv(world: World, layout: str, target: Path | None = None, *, seed: int | None = None) -> bytes:
    """The table in the layout of an edition (``2018``, ``2021``, ``2023``, ``2025``, ``wiod``).

    Args:
        target: where to write; None returns the bytes.
        seed: shuffles the rows and, separately, the columns; None keeps their order.
    """
    old = layout in ("2018", "2021")
    rows = [f"{c}_{i}" for c, i in world.labels]
    final = [f"{c}_{f}" for c, f in world.final_labels]
    zeros = np.zeros(len(final), np.int64)
    countries = list(dict.fromkeys(c for c, _ in world.final_labels))
    extra: list[tuple[str, Ints, Ints]] = []
    if old:
        part = np.rint(np.outer(np.full(len(countries), 1 / len(countries)), world.TLS)).astype(np.int64)
        part[0] += world.TLS - part.sum(axis=0)
        extra += [(f"{c}_TAXSUB", part[k], zeros) for k, c in enumerate(countries)]
    elif layout != "wiod":
        extra.append(("TLS", world.TLS, zeros))
    extra.append(("VALU" if old else "VA", world.VA, zeros))
    extra.append(("OUTPUT" if old else "OUT", world.OUT, world.Y.sum(axis=0)))
    row_order, column_order = np.arange(len(rows)), np.arange(len(rows) + len(final))
    if seed is not None:
        rng = np.random.default_rng(seed)
        row_order, column_order = rng.permutation(row_order), rng.permutation(column_order)
    body = np.hstack([world.Z, world.Y])[row_order][:, column_order]
    last = np.concatenate([world.OUT[row_order], [int(r.sum() + f.sum()) for _, r, f in extra]])
    tail = np.array([np.concatenate([r, f])[column_order] for _, r, f in extra])
    cells = np.vstack([body, tail])
    names = ["" if old else "V1", *np.array(rows + final)[column_order].tolist(), "TOTAL" if old else "OUT"]
    labels = [*np.array(rows)[row_order].tolist(), *(name for name, _, _ in extra)]
    arrays = [pa.array(labels), *(pa.array(cells[:, k] / MICRO) for k in range(cells.shape[1])), pa.array(last / MICRO)]
    table = pa.table(arrays, names=[f"c{k}" for k in range(len(arrays))])
    stream: io.BytesIO | io.BufferedWriter
    with io.BytesIO() if target is None else target.open("wb") as stream:
        stream.write((",".join(names) + "\n").encode())
        pacsv.write_csv(table, stream, pacsv.WriteOptions(include_header=False, quoting_style="none", batch_size=256))
        return stream.getvalue() if isinstance(stream, io.BytesIO) else b""


def country_codes(count: int) -> list[str]:
    """``count`` region codes, CHN, MEX, NLD and ROW among them; the others are made up and no ISO codes."""
    fixed = ["CHN", "MEX", "NLD", "ROW"]
    made = [f"Q{k:02d}" for k in range(100)]
    return sorted([*fixed, *made[: count - len(fixed)]]) if count >= len(fixed) else fixed[:count]


#: The 50 industries of the 2025 edition and the 45 of 2023, by number where the name does not matter.
FULL_2025 = ["A01", "B05", "C24A", *(f"X{n:02d}" for n in range(47))]
