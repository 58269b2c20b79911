"""Whose licences bind what is passed on, what they forbid, and how the Hugging Face Hub calls them.

The words for what a licence allows are those of ``corpora.corpus.REDISTRIBUTION``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vqa_assets.corpora import CORPORA, Corpus, ExternalShard
from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest
from vqa_assets.errors import SharingError
from vqa_assets.printing import cell, plain

LICENCE_FILE = "LICENSE.md"
"""The file of a shared folder that names every licence; the Hub's ``license_link`` leads to it."""
OTHER, UNKNOWN = "other", "unknown"
HUB_LICENCES = frozenset(
    {
        *("apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "mit", "odbl", "odc-by", "pddl"),
        *("cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
        *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
        *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-permissive-1.0", "cdla-permissive-2.0"),
        "cdla-sharing-1.0",
    }
)
"""Those of the Hub's identifiers that a corpus or a network may be under
(https://huggingface.co/docs/hub/repositories-licenses); any other licence is ``other`` there, with a name and a link.
"""
_CREATIVE_COMMONS = re.compile(r"cc-by(-nc)?(-sa|-nd)?")
_NOT_TOLD = "(not declared here)"


@dataclass(frozen=True)
class LicensedSource:
    """A corpus or a network that something was made of. ``redistribution`` is a key of ``REDISTRIBUTION``."""

    name: str
    title: str
    licence: str
    redistribution: str
    citation: str
    homepage: str = ""

    @classmethod
    def of(cls, name: str, declared: Corpus | ExternalShard | None) -> "LicensedSource":
        """A corpus by its declaration; of one without a declaration nothing is known, and nothing is allowed."""
        if declared is None:
            return cls(name, _NOT_TOLD, UNKNOWN, UNKNOWN, _NOT_TOLD)
        known = (declared.title, declared.licence, declared.redistribution, declared.citation, declared.homepage)
        return cls(name, *known)

    @property
    def hub_licence(self) -> str:
        """The Hub's identifier of its licence: ``CC BY 4.0`` is ``cc-by-4.0``, words of its own are ``other``."""
        word = re.sub(r"[\s_]+", "-", self.licence.strip().lower())
        if word in HUB_LICENCES or word == UNKNOWN:
            return word
        return "cc" if _CREATIVE_COMMONS.fullmatch(word) else OTHER


def hub_licence(sources: Sequence[LicensedSource]) -> dict[str, str]:
    """The Hub's ``license`` of what was made of these: their common one, else ``other`` with the strictest word.

    A list of their licences would read as a choice between them.
    """
    common = {source.hub_licence for source in sources}
    if len(common) == 1 and not common & {OTHER}:
        return {"license": common.pop()}
    name = strictest(source.redistribution for source in sources)
    return {"license": OTHER, "license_name": name, "license_link": LICENCE_FILE}


def refuse_forbidden(sources: Sequence[LicensedSource], what: str, *, scores: bool, may: bool) -> tuple[str, ...]:
    """The names of the sources that only the operator's word (``may``) lets pass; SharingError without it.

    A licence that is not known forbids all; one for research the ``scores`` of single clips, and not a head that
    learned from them.
    """
    words = (UNKNOWN, *(["research-only"] if scores else []))
    forbidden = [source for source in sources if source.redistribution in words]
    if forbidden and not may:
        found = "; ".join(f"{source.name}: {source.licence} ({source.redistribution})" for source in forbidden)
        # What is not known of a corpus of one's own can be looked up.
        own = any(source.redistribution == UNKNOWN and source.name not in CORPORA for source in forbidden)
        declared = "; of what you declared yourself, state licence and redistribution there" if own else ""
        raise SharingError(
            f"{what} is not passed on",
            found=found,
            expected=f"licences that let {'scores of single clips' if scores else 'a head of theirs'} be passed on",
            next_step="--i-may says that you may all the same: its authors let you, or it stays with you" + declared,
        )
    return tuple(source.name for source in forbidden)


def licence_text(sources: Sequence[LicensedSource], at_your_word: Sequence[str] = ()) -> str:
    """The page of licences, Markdown: what follows for the whole, then each source with licence and citation."""
    strictest_word = strictest(source.redistribution for source in sources)
    lines = [
        "# Licences",
        "",
        f"What is in this folder {REDISTRIBUTION[strictest_word]}. The strictest of these licences rules:",
        "",
        "| of | licence | what it lets one do | where |",
        "| --- | --- | --- | --- |",
    ]
    for one in sources:
        named = f"{cell(one.title)} ({cell(one.name)})"
        allowed = f"{one.redistribution}: {REDISTRIBUTION[one.redistribution]}"
        lines.append(f"| {named} | {cell(one.licence)} | {allowed} | {cell(one.homepage)} |")
    citations = dict.fromkeys(plain(source.citation) for source in sources)
    lines += ["", "To cite:", "", *(f"- {citation}" for citation in citations), ""]
    if at_your_word:
        names = ", ".join(map(plain, at_your_word))
        lines += [f"Whoever made this folder said that what is of {names} may be passed on.", ""]
    return "\n".join(lines)
