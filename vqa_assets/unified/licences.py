"""Under which licences the corpora inside stand, whom to cite, and what follows for passing the whole on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vqa_assets.corpora import Corpus, ExternalShard
from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest


@dataclass(frozen=True)
class CorpusLicence:
    """One corpus inside. ``redistribution`` is a key of ``REDISTRIBUTION``."""

    corpus: str
    title: str
    clips: int
    licence: str
    redistribution: str
    citation: str
    homepage: str


@dataclass(frozen=True)
class Licences:
    """Every corpus inside, and the strictest of their ``REDISTRIBUTION`` words, which rules for the whole."""

    corpora: tuple[CorpusLicence, ...]
    strictest: str

    @property
    def consequence(self) -> str:
        """What the strictest word means, as a sentence."""
        named = ", ".join(one.corpus for one in self.corpora if one.redistribution == self.strictest)
        return f"The unified corpus {REDISTRIBUTION[self.strictest]} (the strictest licence: {named})."

    def as_rows(self) -> list[dict[str, Any]]:
        """The corpora as a table."""
        return [asdict(one) for one in self.corpora]


def licences_of(clips: Mapping[str, int], corpora: Mapping[str, Corpus | ExternalShard]) -> Licences:
    """The licences of the corpora that have clips inside, by name."""
    found = tuple(_licence(corpora[name], clips[name]) for name in sorted(clips))
    return Licences(found, strictest(one.redistribution for one in found))


def _licence(corpus: Corpus | ExternalShard, clips: int) -> CorpusLicence:
    return CorpusLicence(
        corpus=corpus.name,
        title=corpus.title,
        clips=clips,
        licence=corpus.licence,
        redistribution=corpus.redistribution,
        citation=corpus.citation,
        homepage=corpus.homepage,
    )


def citations(licences: Sequence[CorpusLicence]) -> list[str]:
    """Each citation once, in order."""
    return list(dict.fromkeys(one.citation for one in licences))
