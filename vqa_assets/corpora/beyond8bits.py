"""Beyond8Bits: 41 419 HDR clips of 5 917 sources on a bitrate ladder. It holds CHUG's clips, and is declared like it.

Contents are what CHUG's files call them, so that what both corpora show is one content, and in one fold.
"""

from vqa_assets.corpora.chug import CHUG
from vqa_assets.corpora.corpus import ExtraColumn

BEYOND8BITS = CHUG.but(
    name="beyond8bits",
    title="Beyond8Bits HDR-UGC",
    version="beyond8bits-cvpr-2026",
    stored_scale=None,
    spread=None,  # whether sos is an SD or a standard error is not said: it stays under the corpus's own name
    licence="CC BY 4.0 on its Hub page; its authors permit non-commercial research, and clips keep their own licences",
    redistribution="research-only",
    citation="Saini, Chen, Birkbeck, Wang, Adsumilli, Bovik. Seeing Beyond 8bits. CVPR 2026.",
    homepage="https://github.com/shreshthsaini/Beyond8Bits",
    acquisition=CHUG.acquisition.but(
        other_files=("Beyond8Bits_publish.csv",),
        where="https://github.com/shreshthsaini/Beyond8Bits",
        steps="Drop Beyond8Bits_publish.csv; clips are fetched from the public object store.",
    ),
    expected_clips=41_419,
    size="not published",
    min_rows=10_000,
    lookalike="Its crowd part alone (5 992 rows) is CHUG's file, and belongs to chug",
    own_spellings=CHUG.own_spellings.but(split=("split",)),
    extra_columns=(
        ExtraColumn(field="beyond8bits_sos", columns=("sos",), number=True),
        ExtraColumn(field="beyond8bits_ref", columns=("ref",), number=True, role="rung"),
        ExtraColumn(field="beyond8bits_bitrate", columns=("bitrate",), role="bitrate"),
        ExtraColumn(field="beyond8bits_orientation", columns=("orientation",), role="orientation"),
    ),
)
