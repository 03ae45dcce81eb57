"""How a share of draws is written: one rule for the sentences of robustness, for ``explain`` and for the dossier.

A share of draws (or of alternatives, beside them) is cut to tenths of a per cent and never raised, so that what falls
short of a limit does not read as if it reached it: 0.7499 is ``74.9 %``. Does not belong here: other shares, which are
rounded where they are shown.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def tenths(shares: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Shares as whole tenths of a per cent, ``floor(1000 s)``; -1 where there is none (NaN).

    Args:
        shares: between 0 and 1, any shape. One that lies below a tenth by no more than the last bits of a division
            counts as that tenth.
    """
    held = np.asarray(shares, dtype=np.float64)
    found: npt.NDArray[np.int64] = np.where(np.isnan(held), -1, np.floor(held * 1000.0 + 1e-9)).astype(np.int64)
    return found


def of_tenths(count: int) -> tuple[str, str]:
    """So many tenths of a per cent in English and Dutch: ``74.9 %`` and ``74,9 %``."""
    english = f"{count / 10.0:g} %"
    return english, english.replace(".", ",")


def cut_share(share: float) -> tuple[str, str]:
    """A share of draws or alternatives in English and Dutch, cut to tenths of a per cent."""
    return of_tenths(int(tenths(share)))
