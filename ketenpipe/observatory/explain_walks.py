"""All walks under one name: which way leads from a figure back to what it is made of.

Belongs here: choosing the walk of a figure. Does not belong here: any walk.
"""

from __future__ import annotations

from collections.abc import Mapping

from ketenpipe.observatory import explain_criticality, explain_industry, explain_network
from ketenpipe.observatory.explain_book import Item, Row
from ketenpipe.observatory.explain_figures import Figures, Found

_WALKS: Mapping[str, explain_criticality.Walk] = {
    **explain_criticality.WALKS,
    **explain_network.WALKS,
    **explain_industry.WALKS,
}
#: Figures whose basis alone does not say that they are a tier by an industry's recipe.
_BY_USE = ("EI",)


class Walks(Figures):
    """Walks every figure of a release back; see :class:`Figures`."""

    def found(self, item: Item, year: int, row: Row) -> Found:
        """What a figure is made of."""
        name = row["indicator"]
        if row["basis"] == "icio_proportional" and name not in _BY_USE:
            return explain_industry.of_tier(self, item, year, row)
        walk = _WALKS.get(name)
        return super().found(item, year, row) if walk is None else walk(self, item, year, row)
