"""The file of weights: the shipped one holds together, and what does not is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketenpipe.dag.resources import WINDOW
from ketenpipe.errors import InputRefused
from ketenpipe.risk.definitions import COMPONENTS
from ketenpipe.risk.substitutability import COMPOSITE, DIMENSIONS
from ketenpipe.risk.substitution_settings import LONGEST_WINDOW, SubstitutionSettings, load_substitution_settings
from ketenpipe.tables.registry import SUBSTITUTION_DIMENSIONS
from ketenpipe_tests.worlds import SHIPPED

TEXT = (SHIPPED / "substitutability.toml").read_text(encoding="utf-8")


def load(folder: Path, text: str) -> SubstitutionSettings:
    (folder / "substitutability.toml").write_text(text, encoding="utf-8")
    return load_substitution_settings(SHIPPED, folder)


def test_the_shipped_file() -> None:
    held = load_substitution_settings(SHIPPED)
    weights = held.weights()
    assert list(weights) == [name for name in COMPONENTS if name != COMPOSITE]
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)
    by_dimension = {d: sum(w for n, w in weights.items() if DIMENSIONS[n][0] == d) for d in SUBSTITUTION_DIMENSIONS}
    assert by_dimension == pytest.approx(
        {"domestic": 0.25, "supplier": 0.25, "product": 0.25, "time": 0.25, COMPOSITE: 0}
    )
    assert (held.supplier_share.above, held.exporter_share.above, held.stable.risk_below) == (0.05, 0.05, 0.5)
    assert (held.entry.window, held.composite.minimum_coverage, held.composite.concentration) == (3, 0.5, 50.0)
    assert (held.composite.low, held.composite.high) == (0.05, 0.95)


def test_the_longest_window_is_what_the_graph_gives() -> None:
    assert LONGEST_WINDOW == WINDOW


def test_weights_are_scaled(tmp_path: Path) -> None:
    doubled = TEXT.replace("weight = 0.", "weight = 1.")
    held = load(tmp_path, doubled)
    weights = held.weights()
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)
    assert weights["entries"] / weights["entry_share"] == pytest.approx(1.10)


def test_every_component_has_words_a_dimension_and_a_measure() -> None:
    assert list(COMPONENTS) == list(DIMENSIONS)
    for name, definition in COMPONENTS.items():
        assert definition.name == name
        assert all((definition.name_en, definition.name_nl, definition.unit, definition.formula, definition.source))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[component.exits]", "[component.exit]", "component(s) exits are missing"),
        ("[stable]\nrisk_below = 0.5", "[stable]\nrisk_below = 0", "stable.risk_below"),
        ("[stable]\nrisk_below = 0.5", "[stable]\nrisk_below = 1.1", "stable.risk_below"),
        ("[supplier_share]\nabove = 0.05", "[supplier_share]\nabove = 1.0", "supplier_share.above"),
        ("[supplier_share]\nabove = 0.05", "[supplier_share]\nabove = 0", "supplier_share.above"),
        ("window = 3", "window = 0", "entry.window"),
        ("window = 3", "window = 4", "entry.window: input should be less than or equal to 3"),
        ("concentration = 50.0", "concentration = 0", "composite.concentration"),
        ("concentration = 50.0", "concentration = inf", "composite.concentration: input should be a finite number"),
        ("weight = 0.05", "weight = inf", "weight: input should be a finite number"),
        ("minimum_coverage = 0.5", "minimum_coverage = 1.5", "composite.minimum_coverage"),
        ("low = 0.05", "low = 0.5", "composite.low"),
        ("high = 0.95", "high = 0.5", "composite.high"),
        ('normalisation = "x"', 'normalisation = "2x"', "normalisation"),
        ("weight = 0.05", "weight = -0.05", "weight: input should be greater than or equal to 0"),
        ('source = "ketenpipe\'s convention"', 'source = ""', "source"),
        ("window = 3", "window = 3\nmore = 1", "entry.more: extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_taken_is_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in TEXT
    with pytest.raises(InputRefused) as refused:
        load(tmp_path, TEXT.replace(old, new, 1))
    said = str(refused.value)
    assert sentence in said
    assert said.startswith(str(tmp_path / "substitutability.toml"))
    assert said.endswith("compare it with data/reference/substitutability.toml.")


def test_a_component_too_many_is_named(tmp_path: Path) -> None:
    more = TEXT + '\n[component.luck]\nnormalisation = "x"\nweight = 1.0\nsource = "none"\n'
    with pytest.raises(InputRefused, match="there is no component luck"):
        load(tmp_path, more)


def test_all_weights_zero_are_refused(tmp_path: Path) -> None:
    lines = ["weight = 0.0" if line.startswith("weight = ") else line for line in TEXT.splitlines()]
    with pytest.raises(InputRefused, match="all weights are 0"):
        load(tmp_path, "\n".join(lines))


@pytest.mark.parametrize("value", ["0.04", "0.999"])
def test_bounds_are_not_narrower_than_said(tmp_path: Path, value: str) -> None:
    held = load(tmp_path, TEXT.replace("[supplier_share]\nabove = 0.05", f"[supplier_share]\nabove = {value}"))
    assert held.supplier_share.above == float(value)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"substitutability\.toml is missing"):
        load_substitution_settings(tmp_path)
    with pytest.raises(InputRefused, match=r"substitutability\.toml is missing"):
        load_substitution_settings()
    with pytest.raises(InputRefused, match="is not readable TOML"):
        load(tmp_path, "[entry\n")
