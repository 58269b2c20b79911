"""KonViD-150k: about 150 000 clips in the wild, each with five or more crowd ratings.

Its two score drops have neither SD nor count; the files of single votes beside them do.
"""

from vqa_assets.corpora.corpus import Acquisition, Archive, Corpus, ScorePart, Spellings
from vqa_assets.corpora.scales import ACR_1_5

KONVID_150K = Corpus(
    name="konvid-150k",
    title="KonViD-150k",
    version="konvid-150k-2019",
    scales=(ACR_1_5,),
    spread="sd",
    licence="research use, citation required",
    redistribution="research-only",
    citation="Götz-Hahn, Hosu, Lin, Saupe. KonVid-150k: A Dataset for No-Reference Video Quality Assessment of Videos "
    "in-the-Wild. IEEE Access 2021.",
    homepage="https://database.mmsp-kn.de/konvid-150k-vqa-database.html",
    acquisition=Acquisition(
        file="manifest.csv",
        where="https://database.mmsp-kn.de/konvid-150k-vqa-database.html",
        steps="Download the score file with its URL column and drop it as manifest.csv; clips are then fetched into "
        "clips/. Or drop k150ka_scores.csv, k150kb_scores.csv or both, with the clips unpacked into k150ka_extracted/ "
        "and k150kb_extracted/ (or clips/); SD and count come from k150ka_votes.csv and k150kb_votes.csv beside them. "
        "Or set fetch: true once, and all of these are downloaded and unpacked.",
    ),
    expected_clips=150_000,
    size="120–200 GB",
    bytes_per_clip=1_000_000,
    min_rows=5_000,
    lookalike="KonViD-1k's attributes file has about 1 200 rows, and belongs to konvid-1k",
    own_spellings=Spellings(mos=("mos", "video_score")),
    parts=(
        ScorePart(
            file="k150ka_scores.csv",
            field="score_drop",
            value="k150ka",
            clips=("k150ka_extracted",),
            votes="k150ka_votes.csv",
        ),
        ScorePart(
            file="k150kb_scores.csv",
            field="score_drop",
            value="k150kb",
            clips=("k150kb_extracted",),
            votes="k150kb_votes.csv",
            min_rows=1_000,
        ),
    ),
    clip_folders=("k150ka_extracted", "k150kb_extracted"),
    archives=(
        # The small files first: what is wrong with the address shows before 100 GB have come.
        Archive(file="k150ka_scores.csv", min_bytes=100_000),
        Archive(file="k150kb_scores.csv", min_bytes=10_000),
        Archive(file="k150ka_votes.csv", min_bytes=10_000, needed=False),
        Archive(file="k150kb_votes.csv", min_bytes=10_000, needed=False),
        Archive(file="k150kb.zip", folder="k150kb_extracted", min_bytes=100_000_000),
        Archive(file="k150ka.zip", folder="k150ka_extracted", min_bytes=10_000_000_000),
    ),
    archive_base="https://datasets.vqa.mmsp-kn.de/archives/",
    name_ids=("flickr",),
)
