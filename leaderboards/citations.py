"""Citations as plugins state them, one line each, as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Entry", "bibliography", "entries"]

_CITATION = re.compile(
    r"(?:after )?(?P<authors>[^\d;]+?),? \(?(?P<year>\d{4})\)?(?P<rest>.*)", re.DOTALL
)
_ARXIV = re.compile(r",?\s*arXiv[: ](\d{4}\.\d{4,5})")
_DOI = re.compile(r",?\s*doi:(\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """An entry of a bibliography: its key, such as ``chen2020``, and the whole text in BibTeX."""

    key: str
    text: str


def entries(citation: str) -> list[Entry]:
    """The works that a citation names, several between semicolons.

    Nothing is known but what the citation says: authors and year make the key, an arXiv number and a DOI have fields,
    and the rest is a note. What does not begin with authors and a year is a note whole.
    """
    return [_entry(part.strip()) for part in citation.split("; ") if part.strip()]


def bibliography(citations: Iterable[str]) -> str:
    """All works once, sorted by key, as a ``.bib`` file; works with one key are told apart by letters.

    >>> print(bibliography(["Chen et al. (2020), GAN-Leaks, ACM CCS, arXiv:1909.03935"]))
    @misc{chen2020,
      author = {Chen and others},
      year = {2020},
      eprint = {1909.03935},
      archiveprefix = {arXiv},
      note = {GAN-Leaks, ACM CCS},
    }
    <BLANKLINE>
    """
    found = {entry.text: entry for citation in citations for entry in entries(citation)}
    taken: dict[str, int] = {}
    texts = []
    for entry in sorted(found.values(), key=lambda e: (e.key, e.text)):
        n = taken[entry.key] = taken.get(entry.key, 0) + 1
        letter = "" if n == 1 else chr(ord("a") + min(n - 1, 25))
        texts.append(entry.text.replace(f"{{{entry.key},", f"{{{entry.key}{letter},", 1))
    return "".join(f"{text}\n" for text in texts)


def _entry(text: str) -> Entry:
    match = _CITATION.fullmatch(text)
    fields: dict[str, str] = {}
    rest, key = text, "work"
    if match:
        authors = re.sub(r",? et al\.?", ", others", match["authors"])
        names = [name.strip() for name in re.split(r",| and | & ", authors) if name.strip()]
        fields = {"author": " and ".join(names), "year": match["year"]}
        rest, key = match["rest"], _key(names[0], match["year"])
    for name, pattern in (("eprint", _ARXIV), ("doi", _DOI)):
        if number := pattern.search(rest):
            fields[name] = number[1]
            rest = pattern.sub("", rest, count=1)
    if "eprint" in fields:
        fields["archiveprefix"] = "arXiv"
    note = rest.strip(" ,")
    if note:
        fields["note"] = note
    order = [n for n in ("author", "year", "eprint", "archiveprefix", "doi", "note") if n in fields]
    lines = "".join(f"  {name} = {{{_plain(fields[name])}}},\n" for name in order)
    return Entry(key, f"@misc{{{key},\n{lines}}}")


def _key(name: str, year: str = "") -> str:
    """The last word of the first author's name, in letters without accents, and the year."""
    bare = unicodedata.normalize("NFKD", (name.split() or ["work"])[-1].lower())
    return (re.sub(r"[^a-z]", "", bare) or "work") + year


def _plain(text: str) -> str:
    """Text without what BibTeX takes for markup."""
    return re.sub(r"([&%#_$])", r"\\\1", re.sub(r"[{}\\]", "", text))
