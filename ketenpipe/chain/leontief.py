"""The algebra of one input-output table: one LU factorisation, and every measure as a few solves with it.

Notation: ``Z[i, j]`` deliveries of i to j, ``x`` output, ``A = Z diag(1/x)``, ``L = (I - A)^-1``,
``B = diag(1/x) Z``, ``G = (I - B)^-1 = diag(1/x) L diag(x)`` (Ghosh): hence one factorisation serves both sides.
Belongs here: the factorisation and the measures as arrays. Does not belong here: countries' names, blocs, tables of
the release (:mod:`ketenpipe.chain.industry`). No inverse is ever formed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgWarning, lu_factor, lu_solve
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ketenpipe.errors import InputRefused

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Words = npt.NDArray[np.object_]

#: Above this 1-norm of L fewer than six digits of a figure can be trusted: taken as singular.
LARGEST_NORM = 1e10
#: Below this part of all inputs a solve cannot tell an origin from nothing.
TRACE = 1e-12


class NoInverse(InputRefused):
    """A table without a usable Leontief inverse.

    Args:
        reason: ``singular_table`` or ``not_productive``, as the released tables name it.
    """

    def __init__(self, reason: str, what: str, todo: str) -> None:
        self.reason = reason
        super().__init__(what, todo=todo)


@dataclass(frozen=True)
class Leontief:
    """A table with its factorisation. Made by :meth:`of` or :meth:`beside_loops`.

    Attributes:
        z: deliveries, shape (n, n).
        output: ``x``, shape (n).
        alive: where ``x > 0``; all else takes no part as a user, and has no figures.
        column_sums: ``1'L``, shape (n): at least 1 everywhere in a productive economy, and its maximum is the 1-norm
            of L.
        endless_inputs: why the inputs behind a column have no finite sum (``singular_table``, ``not_productive``), None
            where they have one, shape (n). Such a column of L is no figure.
        endless_sales: the same of the sales of a row, shape (n). Such a row of L (and of G) is no figure.
    """

    z: Array
    output: Array
    alive: npt.NDArray[np.bool_]
    column_sums: Array
    endless_inputs: Words
    endless_sales: Words
    _factors: tuple[Array, Indices]

    @classmethod
    def of(cls, z: Array, output: Array) -> Leontief:
        """Factorise ``I - A`` once; every column and row of L is a figure.

        Raises:
            NoInverse: ``I - A`` is singular to working precision, or ``A^k`` does not fade away (spectral radius of
                at least 1), so that the sum over tiers has no limit. For ``A >= 0`` the latter is exact: ``I - A`` is
                an M-matrix if and only if ``1'L >= 1'``.
            InputRefused: a delivery or an output that is not a finite number.
        """
        z = np.asarray(z, dtype=np.float64)
        output = np.asarray(output, dtype=np.float64)
        if not np.isfinite(z.sum()) or not np.isfinite(output.sum()):
            raise InputRefused(
                "the input-output table has a delivery or an output that is no finite number",
                todo="check the file for empty or overflowing cells",
            )
        factors, sums = _factorise(z, output)
        return cls(z, output, output > 0, sums, _none(len(output)), _none(len(output)), factors)

    @classmethod
    def beside_loops(cls, z: Array, output: Array) -> Leontief:
        """Factorise ``I - A`` without its closed loops, and mark what they touch.

        ``A`` is block triangular in the strongly connected components of its graph (an edge from i to j where j uses
        i), so that its series has no limit if and only if that of some component has none: a *loop*. Column j of L is
        the sum over all chains that end in j: it has a limit unless a loop is somewhere upstream of j. Row i is the
        sum over all chains that begin in i: it has one unless a loop is downstream of i. No chain that counts for
        such a column or row passes a loop, so with the loops' rows and columns taken out of A they stay exactly the
        same. Where no loop can be named (the table is too near to singular as a whole) nothing has a limit.

        Raises:
            InputRefused: as :meth:`of`.
        """
        try:
            return cls.of(z, output)
        except NoInverse as whole:
            reason = whole.reason
        # Outside the handler, which would hold the first factors in memory.
        z, output = np.asarray(z, dtype=np.float64), np.asarray(output, dtype=np.float64)
        graph = csr_array((z != 0) & (output > 0)[np.newaxis, :])
        loops = _loops(z, output, graph)
        try:
            factors, sums = _factorise(_without(z, loops), output)
        except NoInverse:
            loops = [(np.arange(len(output)), reason)]
            factors, sums = _factorise(np.zeros_like(z), output)
        return cls(z, output, output > 0, sums, _reached(loops, graph), _reached(loops, graph.T.tocsr()), factors)

    def forward(self, columns: Array) -> Array:
        """``L b``, shape of ``b``: (n) or (n, k)."""
        return _solve(self._factors, columns, transposed=True)

    def backward(self, rows: Array) -> Array:
        """``L' b``, shape of ``b``: (n) or (n, k)."""
        return _solve(self._factors, rows, transposed=False)

    def step(self, columns: Array) -> Array:
        """``A b``: one tier further up. Shape of ``b``."""
        return self.z @ (columns.T * _one_over(self.output)).T

    def upstreamness(self) -> Array:
        """``U = G 1 = diag(1/x) L x``, shape (n): mean number of steps to final use, 1 where all goes there at once.

        NaN where there is no output or no end of sales. Source: Antras, Chor, Fally, Hillberry 2012; Antras & Chor 2018
        (recalled).
        """
        usable = self.alive & ~self.endless_sales.astype(bool)
        return np.where(usable, self.forward(self.output) * _one_over(self.output), np.nan)

    def downstreamness(self) -> Array:
        """``D' = 1'L``, shape (n): mean number of steps from primary inputs, 1 where no inputs are bought.

        NaN where there is no output or no end of inputs. Source: Fally 2012; Antras & Chor 2018 (recalled).
        """
        return np.where(self.alive & ~self.endless_inputs.astype(bool), self.column_sums, np.nan)

    def rows(self, of: Indices) -> Array:
        """Rows ``of`` of L, transposed: ``L'E``, shape (n, len(of))."""
        unit = _columns(len(self.output), len(of))
        unit[of, np.arange(len(of))] = 1.0
        return self.backward(unit)

    def exposure_to(self, origin: npt.NDArray[np.bool_]) -> Array:
        """Look-through of *every* industry to the rows ``origin``: ``sum_{i in origin} (L-I)_ij / sum_i (L-I)_ij``.

        One transposed solve, whatever the number of industries asked about. Shape (n); NaN where an industry has no
        output, no inputs or no end of them. Source: Baldwin, Freeman, Theodorakopoulos; METHOD 1 (FIR of one country).
        """
        inside = origin.astype(np.float64)
        total = self.column_sums - 1.0
        usable = self.alive & ~self.endless_inputs.astype(bool) & (total > TRACE)
        part = np.maximum(self.backward(inside) - inside, 0.0)
        return np.where(usable, np.minimum(part / np.where(usable, total, 1.0), 1.0), np.nan)


@dataclass(frozen=True)
class Leanings:
    """Inputs and sales of m groups of columns, by row label (n). A group's columns weigh by their output.

    Attributes:
        made: the groups' output, shape (n, m); the other arrays are in the same money.
        direct: ``Z`` summed over the group's columns that have output, shape (n, m).
        total: ``(L - I) made``, direct and indirect inputs, shape (n, m).
        tiers: ``A made, A^2 made, ...``, shape (depth, n, m).
        tail: ``L A^(depth+1) made``, all deeper tiers, solved on its own and not as a difference, shape (n, m).
        steps: ``sum_k k A^k made = L (L - I) made``, shape (n, m).
        sales: ``((G - I)' made)``, direct and indirect sales (Ghosh), shape (n, m).
    """

    made: Array
    direct: Array
    total: Array
    tiers: Array
    tail: Array
    steps: Array
    sales: Array


def leanings(economy: Leontief, groups: Sequence[Indices], depth: int, rows: Array | None = None) -> Leanings:
    """Direct and indirect inputs and sales of groups of columns.

    ``sum of tiers + tail = total`` is an identity of the algebra, not of the code: the tail is solved apart.
    A group with a column (for sales: a row) that has no finite sum has NaN in all but ``made`` and ``direct``.
    ``steps / total`` is the average propagation length: ``APL = L(L-I) / (L-I)``, cell by cell or both summed over the
    origins of one country. Source: Dietzenbacher, Romero, Bosma 2005; Dietzenbacher & Romero 2007 (recalled).

    Args:
        groups: index arrays of columns.
        depth: number of tiers, at least 1.
        rows: ``L'E`` of every group, shape (n, m), if known already.
    """
    n, m = len(economy.output), len(groups)
    made, members = _columns(n, m), _columns(n, m)
    direct = np.zeros((n, m))
    for k, columns in enumerate(groups):
        made[columns, k] = np.where(economy.alive[columns], economy.output[columns], 0.0)
        members[columns, k] = economy.alive[columns]
        direct[:, k] = economy.z[:, columns[economy.alive[columns]]].sum(axis=1)
    total = economy.forward(made) - made
    tiers = np.empty((depth, n, m))
    step = made
    for t in range(depth):
        step = economy.step(step)
        tiers[t] = step
    both = economy.forward(np.hstack([total, economy.step(step)]))
    sold = economy.backward(members) if rows is None else rows
    # e_i'G = (1/x_i) e_i'L diag(x); row i weighs by x_i, which leaves (L'e_i) * x.
    sales = economy.output[:, np.newaxis] * sold - made
    for k, columns in enumerate(groups):
        here = columns[economy.alive[columns]]
        if economy.endless_inputs[here].astype(bool).any():
            total[:, k], tiers[:, :, k], both[:, k], both[:, m + k] = np.nan, np.nan, np.nan, np.nan
        if economy.endless_sales[here].astype(bool).any():
            sales[:, k] = np.nan
    return Leanings(made, direct, total, tiers, both[:, m:], both[:, :m], sales)


@dataclass(frozen=True)
class Extraction:
    """Losses when a share of one country's deliveries to the focus falls away. Shares, for ranking only.

    Attributes:
        leontief: the *supplier's* loss of market: part of its output that no longer finds a user (final demand stays).
        ghosh: each user's loss of inputs: part of its output that no longer has its primary inputs upstream (value
            added stays), shape (users).
    """

    leontief: float
    ghosh: Array


def extraction(
    economy: Leontief,
    suppliers: Indices,
    users: Indices,
    share: float,
    user_rows: Array,
    supplier_sums: Array,
) -> Extraction:
    """Partial hypothetical extraction of the deliveries of ``suppliers`` to ``users``, in closed form.

    ``A* = A - share E_c A_cf E_f'``. With ``K = A_cf L_fc`` the Woodbury identity gives ``x - x* = share L E_c
    (I + share K)^-1 Z_cf 1`` on the Leontief side, summed over c, and ``(x - x*)_f' / x_f' = share 1'(I + share K)^-1
    A_cf L_ff`` on the Ghosh side. The matrix that is solved is as small as the supplier's number of industries.

    Source: Dietzenbacher & Lahr 2013 (partial extraction), Miller & Lahr 2001 (recalled); METHOD 1.

    Args:
        suppliers: rows of the supplying country, all with output.
        users: columns of the focus, all with output.
        share: of the deliveries that falls away, in [0, 1].
        user_rows: ``L'E_f``, shape (n, users).
        supplier_sums: ``1_c'L`` over those rows, shape (n).
    """
    block = economy.z[np.ix_(suppliers, users)]
    a = block / economy.output[users]
    k = a @ user_rows[suppliers].T
    system = np.eye(len(suppliers)) + share * k
    lost = share * (supplier_sums[suppliers] @ np.linalg.solve(system, block.sum(axis=1)))
    weights = np.linalg.solve(system.T, np.ones(len(suppliers)))
    return Extraction(
        float(lost / economy.output[suppliers].sum()),
        share * (user_rows[users] @ (weights @ a)),
    )


@dataclass(frozen=True)
class Coefficient:
    """One inverse-important coefficient: ``a[supplier, user]`` and the elasticity of a look-through to it."""

    supplier: int
    user: int
    elasticity: float


class Importance:
    """Finds the coefficients to which the foreign look-through of industries reacts most.

    ``FIR = N/T``, ``N = 1_f'(L-I) m``, ``T = 1'(L-I) m`` for the foreign rows f and a mix m of columns. As
    ``dL/da_pq = L e_p e_q' L`` (Sherman-Morrison, to first order), the elasticity is ``(a_pq/FIR) dFIR/da_pq = a_pq
    (L m)_q [(1_f'L)_p / N - (1'L)_p / T]``: positive where a larger coefficient makes the industry lean more on abroad.

    Best first with a bound: for a column q no coefficient exceeds ``|L m|_q max(max_p |a_pq (1_f'L)_p| / N,
    max_p |a_pq (1'L)_p| / T)``, both maxima taken once for all industries; where negative deliveries give some p sums
    of opposite sign, the sum of the two instead. Columns are opened from the largest bound down until the k-th best
    cannot be beaten: the top k are exact, nothing else is looked at.

    Source: Sherman & Morrison 1950; Sonis & Hewings (fields of influence), Schintke & Staeglin (recalled).
    """

    def __init__(self, economy: Leontief, foreign: npt.NDArray[np.bool_], foreign_sums: Array) -> None:
        """Args: ``foreign``: rows outside the focus, shape (n); ``foreign_sums``: ``1_f'L``, shape (n)."""
        self._economy = economy
        self._foreign = foreign
        self._sums = foreign_sums
        self._together = np.add if (foreign_sums * economy.column_sums < 0).any() else np.maximum
        scale = _one_over(economy.output)
        n = len(scale)
        self._most_foreign, self._most_total = np.zeros(n), np.zeros(n)
        # In strips that stay in the processor's cache; no second matrix of the table's size is held.
        strip = np.empty((32, n))
        for start in range(0, n, 32):
            part = economy.z[start : start + 32]
            product = strip[: len(part)]
            for most, weight in ((self._most_foreign, foreign_sums), (self._most_total, economy.column_sums)):
                np.multiply(part, weight[start : start + 32, np.newaxis], out=product)
                np.maximum(most, product.max(axis=0), out=most)
                np.maximum(most, -product.min(axis=0), out=most)
        self._most_foreign *= scale
        self._most_total *= scale

    def top(self, made: Array, total: Array, count: int) -> list[Coefficient]:
        """The ``count`` coefficients with the largest absolute elasticity, largest first; ties by supplier, user.

        Args:
            made: m, shape (n).
            total: ``(L - I) m``, shape (n).

        Returns an empty list where the industry has no inputs or no foreign ones.
        """
        through = made + total
        foreign, everything = float(total[self._foreign].sum()), float(total.sum())
        if not everything > TRACE * made.sum() or not foreign > TRACE * everything:
            return []
        weight = self._sums / foreign - self._economy.column_sums / everything
        bound = np.abs(through) * self._together(self._most_foreign / foreign, self._most_total / everything)
        scale = _one_over(self._economy.output)
        best: list[tuple[float, int, int, float]] = []
        for q in np.argsort(-bound, kind="stable"):
            if bound[q] <= 0 or (len(best) == count and bound[q] < -best[-1][0]):
                break
            values = self._economy.z[:, q] * weight * (scale[q] * through[q])
            size = np.abs(values)
            near = np.flatnonzero(size > 0)
            if len(near) > count:
                near = near[size[near] >= np.partition(size[near], -count)[-count]]
            best += [(-float(size[p]), int(p), int(q), float(values[p])) for p in near]
            best = sorted(best)[:count]
        return [Coefficient(p, q, value) for _, p, q, value in best]


def _factorise(z: Array, output: Array) -> tuple[tuple[Array, Indices], Array]:
    """LU factors of ``(I - A)'`` and the column sums of L.

    Raises:
        NoInverse: see :meth:`Leontief.of`.
    """
    system = np.ascontiguousarray(z) * -_one_over(output)[np.newaxis, :]
    system.flat[:: len(output) + 1] += 1.0
    # The transposed view is in Fortran order: LAPACK factorises it in place, no second matrix is made.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LinAlgWarning)
            factors = lu_factor(system.T, overwrite_a=True, check_finite=False)
    except LinAlgWarning as error:
        raise _singular() from error
    sums = _solve(factors, np.ones(len(output)), transposed=False)
    if not np.isfinite(sums).all() or np.abs(sums).max(initial=0.0) > LARGEST_NORM:
        raise _singular()
    if sums.min(initial=1.0) < 1.0 - 1e-9 and z.min() >= 0:
        raise NoInverse(
            "not_productive",
            "the input-output table has industries that use more inputs than they make, tier after tier",
            "check the table's output row against its deliveries",
        )
    return factors, sums


def _solve(factors: tuple[Array, Indices], right: Array, *, transposed: bool) -> Array:
    """The solution for ``(I - A)'``, or for ``I - A`` where transposed; the input was looked at when factorised."""
    return lu_solve(factors, right, trans=int(transposed), check_finite=False)


def _columns(rows: int, count: int) -> Array:
    """Nothing yet, column after column in memory as LAPACK solves them."""
    return np.zeros((rows, count), order="F")


def _loops(z: Array, output: Array, graph: csr_array) -> list[tuple[Indices, str]]:
    """The strongly connected components without an inverse of their own, with the reason."""
    count, component = connected_components(graph, directed=True, connection="strong")
    order = np.argsort(component, kind="stable")
    found = []
    for members in np.split(order, np.searchsorted(component[order], np.arange(1, count))):
        block = z[np.ix_(members, members)]
        if not block.any():
            continue
        try:
            _factorise(block, output[members])
        except NoInverse as none:
            found.append((members, none.reason))
    return found


def _without(z: Array, loops: Sequence[tuple[Indices, str]]) -> Array:
    """Deliveries without those to and from the loops."""
    cut = z.copy()
    for members, _ in loops:
        cut[members], cut[:, members] = 0.0, 0.0
    return cut


def _reached(loops: Sequence[tuple[Indices, str]], graph: csr_array) -> Words:
    """The reason of a loop that reaches a node along the graph's edges (a loop's own for its members), else None."""
    words = _none(graph.shape[0])
    for members, reason in loops:
        for start in members:
            if words[start] is None:
                words[breadth_first_order(graph, start, directed=True, return_predecessors=False)] = reason
    for members, reason in loops:
        words[members] = reason
    return words


def _none(count: int) -> Words:
    return np.full(count, None, dtype=object)


def _one_over(output: Array) -> Array:
    alive = output > 0
    return np.where(alive, 1.0 / np.where(alive, output, 1.0), 0.0)


def _singular() -> NoInverse:
    return NoInverse(
        "singular_table",
        "the input-output table is singular: some industries only feed themselves",
        "check the table's output row against its deliveries",
    )
