"""Thresholds: those of METHOD, refused when they do not hold together."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.risk.thresholds import load_thresholds
from ketenpipe_tests.worlds import SHIPPED

TEXT = (SHIPPED / "thresholds.toml").read_text(encoding="utf-8")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "thresholds.toml").write_text(text, encoding="utf-8")
    return folder


def test_the_shipped_thresholds_are_those_of_the_method() -> None:
    held = load_thresholds(SHIPPED)
    assert (held.C1.flag, held.C1.moderate, held.C1.high) == (0.4, 0.15, 0.25)
    assert (held.C2.flag, held.C3.flag, held.C4.flag, held.C5.flag) == (0.4, 0.4, 0.65, 0.5)
    assert (held.S1.flag, held.S1b.flag, held.S2.flag) == (1.0, 1.0, 1.0)
    assert [held.S1.below, held.S1b.below, held.S2.below] == [False, False, True], "S2 alone flags below"
    assert (held.G2.flag, held.O1.flag, held.T_hhi.flag, held.T_wgi.flag) == (0.5, 0.4, 0.4, 0.5)
    assert (held.X1_weight.at_least, held.P1.at_least, held.P1.window, held.P2.alert) == (0.05, 2, 3, 0.3)
    assert held.robustness.threshold_shift == 0.1


def test_every_shipped_threshold_names_its_source() -> None:
    held = load_thresholds(SHIPPED)
    for name in type(held).model_fields:
        assert len(getattr(held, name).source) > 5, name


def test_the_sentinel_of_s1_flags() -> None:
    # It stands for "imports and no exports" in method_value and must lie above the cut-off, also 10 % higher.
    held = load_thresholds(SHIPPED)
    assert held.S1.sentinel > held.S1.flag * (1 + held.robustness.threshold_shift)


def test_the_last_folder_wins(tmp_path: Path) -> None:
    own = write(tmp_path / "own", TEXT.replace("flag = 0.65", "flag = 0.7"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert load_thresholds(SHIPPED, own).C4.flag == 0.7
    assert load_thresholds(own, SHIPPED).C4.flag == 0.65
    assert load_thresholds(own, empty).C4.flag == 0.7


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("[C4]\nflag = 0.65\n", "[C4]\n", "C4.flag"),
        ("flag = 0.65", 'flag = "much"', "C4.flag"),
        ("[C5]", "[C6]", "C"),
        ('source = "SWD(2021)352, CDI2"', 'source = ""', "C5.source"),
        ("threshold_shift = 0.1", "threshold_shift = 1.0", "threshold_shift"),
        ("[O1]", "[O1", "TOML"),
    ],
)
def test_broken_thresholds_are_refused_with_their_place(tmp_path: Path, old: str, new: str, word: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(InputRefused, match=word):
        load_thresholds(write(tmp_path, TEXT.replace(old, new)))


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="missing"):
        load_thresholds(tmp_path)
