"""The ``Corpus`` declaration: everything that differs between corpora, as data. No corpus is declared here."""

from dataclasses import dataclass, field
from typing import Literal

from vqa_assets.mos import MosScale

Spread = Literal["sd", "se", "ci95"]


@dataclass(frozen=True)
class Spellings:
    """Column names of an annotation file per meaning, compared without case; the first non-empty one wins."""

    clip: tuple[str, ...] = ()
    url: tuple[str, ...] = ()
    mos: tuple[str, ...] = ()
    sd: tuple[str, ...] = ()
    count: tuple[str, ...] = ()

    def before(self, others: "Spellings") -> "Spellings":
        """These spellings first, then ``others``."""
        return Spellings(
            clip=self.clip + others.clip,
            url=self.url + others.url,
            mos=self.mos + others.mos,
            sd=self.sd + others.sd,
            count=self.count + others.count,
        )


GENERAL_SPELLINGS = Spellings(
    clip=("name", "video_name", "filename", "file_name"),
    url=("url", "download_url", "video_url", "flickr_url"),
    mos=("mos", "mos_score"),
    sd=("sd", "mos_std", "mos_std_dev", "sd_mos"),
    count=("n", "ratings", "num_ratings", "n_ratings"),
)


@dataclass(frozen=True)
class Acquisition:
    """How a person comes by the corpus: the file to drop into its folder, and where it is had."""

    file: str
    where: str
    steps: str


@dataclass(frozen=True)
class Corpus:
    """One named, versioned body of clips with scores.

    ``scales`` are tried in order on the whole file. ``spread`` says what the published spread is (None: none is).
    ``min_rows`` and ``max_rows`` bound the whole annotation file and refuse the wrong corpus; ``lookalike`` says which
    one it probably is. ``default_cap`` bounds an ordinary run. ``bytes_per_clip`` estimates a download.
    Facts that can mislead have no default.
    """

    name: str
    title: str
    version: str
    scales: tuple[MosScale, ...]
    spread: Spread | None
    licence: str
    redistribution: str
    citation: str
    homepage: str
    acquisition: Acquisition
    expected_clips: int
    size: str
    bytes_per_clip: int
    min_rows: int
    max_rows: int | None = None
    lookalike: str = ""
    default_cap: int | None = None
    own_spellings: Spellings = field(default_factory=Spellings)
    clip_suffix: str = ".mp4"
    download_timeout_s: float = 120.0
    bucket_prefix: str = ""

    @property
    def stem(self) -> str:
        """The name as it stands in file names: ``konvid_150k``."""
        return self.name.replace("-", "_")

    @property
    def spellings(self) -> Spellings:
        """The corpus's own column names, then the general ones."""
        return self.own_spellings.before(GENERAL_SPELLINGS)
