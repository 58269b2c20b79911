"""``CORPORA``: every declared corpus by name, in the order that breaks ties. One declarative file per corpus."""

from collections.abc import Mapping
from types import MappingProxyType

from vqa_assets.corpora.corpus import Acquisition, Corpus, Spellings
from vqa_assets.corpora.konvid_150k import KONVID_150K

CORPORA: Mapping[str, Corpus] = MappingProxyType({c.name: c for c in (KONVID_150K,)})

__all__ = ["CORPORA", "Acquisition", "Corpus", "Spellings"]
