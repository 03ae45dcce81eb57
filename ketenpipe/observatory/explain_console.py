"""An answer on the screen, and as one JSON document.

Belongs here: order, headings and words around the lines of an explanation. Does not belong here: any figure that is not
in them.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ketenpipe.observatory.explain_figures import PARTS
from ketenpipe.observatory.explain_release import Answer, SourceFile

HEADINGS = {
    "figure": ("The figure", "Het cijfer"),
    "formula": ("Formula", "Formule"),
    "input": ("What it is made of", "Waaruit het bestaat"),
    "flow": ("Where it comes from", "Waar het vandaan komt"),
    "patch": ("What was patched", "Wat is bijgeschat"),
    "missing": ("What is missing or to be known", "Wat ontbreekt of goed is om te weten"),
    "source": ("Source files", "Bronbestanden"),
    "turn": ("What would have to change", "Wat er zou moeten veranderen"),
}


def show(console: Console, answer: Answer, language: str = "en") -> None:
    """Print an answer.

    Args:
        console: where to.
        answer: what to.
        language: en or nl.
    """
    nl = language == "nl"
    text = "text_nl" if nl else "text_en"
    files = {f"{f.row['source']}:{f.file}": f for f in answer.files}
    for part in PARTS:
        lines = [line for line in answer.lines if line["part"] == part]
        if not lines:
            continue
        console.print(Text(HEADINGS[part][nl], style="bold"))
        for line in lines:
            words = line[text]
            if part == "source":
                words = f"{words}; {bytes_words(files[line['what']], nl)}"
            style = "bold red" if line["holds"] is False else ""
            console.print(Padding(Text(words, style=style), (0, 0, 0, 2), expand=False))
    console.print()
    console.print(
        f"Publicatie {answer.release}, manifest sha256 {answer.manifest_sha256}."
        if nl
        else f"Release {answer.release}, manifest sha256 {answer.manifest_sha256}.",
        soft_wrap=True,
    )
    if answer.others:
        start = "De publicatie heeft ook" if nl else "The release also has"
        console.print(f"{start}: {'; '.join(answer.others)}.")


def bytes_words(file: SourceFile, nl: bool = False) -> str:
    """Whether a source file still is the one that was read, in words."""
    if file.holds is None:
        return "hier niet gevonden, dus niet gecontroleerd" if nl else "not found here, so not checked"
    if file.holds:
        return f"nog dezelfde bytes: {file.path}" if nl else f"still the same bytes: {file.path}"
    return f"NIET MEER dezelfde bytes: {file.path}" if nl else f"NO LONGER the same bytes: {file.path}"


def document(answer: Answer) -> dict[str, Any]:
    """An answer for machines."""
    return {
        "release": answer.release,
        "manifest_sha256": answer.manifest_sha256,
        "published": answer.published,
        "row": answer.row,
        "reproduces": answer.reproduces,
        "parts": {
            part: [
                {k: line[k] for k in ("what", "value", "unit", "country", "text_en", "text_nl", "holds")}
                for line in answer.lines
                if line["part"] == part
            ]
            for part in PARTS
        },
        "sources": [
            {
                **{
                    k: f.row[k] for k in ("source", "file", "vintage", "sha256", "licence", "rows_read", "rows_refused")
                },
                "path": f.path,
                "same_bytes": f.holds,
            }
            for f in answer.files
        ],
        "others": list(answer.others),
    }
