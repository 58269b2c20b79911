"""The settings of one corpus's ingest, and where each came from: run config, ``ingest.toml``, the corpus, the default.

Other stages ask here where a corpus's clips and files are. What a setting is, in general, is in ``settings``.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from vqa_assets.clips.cap_settings import cap_setting
from vqa_assets.clips.caps import BUDGET_SHOWN, MAX_DURATION_S, MAX_FRAMES, MAX_PIXELS, ClipCaps
from vqa_assets.clips.folders import ClipRoot, ClipStore, is_object_address
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import LONGEST_TIME_S, Address, ClipSuffix, HubDataset
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.corpora.scales import OPINION_SCALES
from vqa_assets.errors import SettingsError
from vqa_assets.settings import (
    RUN_CONFIG,
    Level,
    Resolved,
    SettingPath,
    Settings,
    Shape,
    Unfit,
    core_type,
    fits_a_disk,
    resolve_levels,
    setting,
    toml_table,
    typed_path,
)

INGEST_TOML = "ingest.toml"
CLIPS_NAME = "VQA_CLIPS_URL"
"""The variable that says where the clips of all corpora lie, each below its name."""
SCRATCH_BYTES = 20_000_000_000
MOST_CLIPS_AT_ONCE = 4096
"""No run has more clips in hand."""
_LONGEST_NAME_BYTES = 255
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What no file name and no UTF-8 can hold: a null, or half a surrogate pair."""


def _is_inner_folder(text: str) -> bool:
    """Whether a folder's name can stand, and means no folder above the corpus's."""
    parts = PurePosixPath(text).parts
    if _NO_TEXT.search(text) or any(len(part.encode()) > _LONGEST_NAME_BYTES for part in parts):
        return False
    return bool(text) and ".." not in parts and parts != ("/",)


InnerFolder = Annotated[
    str, Shape(_is_inner_folder, "a folder's name, or a dot for the corpus folder itself; none above it")
]


def _is_place_of_clips(text: str) -> bool:
    """Whether a text names a folder, or a bucket with perhaps a prefix."""
    if "://" in text:
        return is_object_address(text)
    return _NO_TEXT.search(text) is None and fits_a_disk(text)


ClipsUrl = Annotated[
    str,
    Shape(
        _is_place_of_clips,
        "a folder, s3://, gs:// or az:// with a bucket and a prefix; credentials come from the environment",
    ),
]


class IngestSettings(Settings):
    """Settings of one ingest; what is not stated is taken from ingest.toml, the corpus, or its default.

    ``max_rows`` None means no cap.
    """

    corpus_dir: SettingPath | None = setting(None, "Folder of the corpus.", shown="<root>/<corpus>", written=True)
    manifest_csv: SettingPath | None = setting(
        None,
        "Annotation file; one that is named and missing is an error, never a fallback.",
        shown="<corpus_dir>/manifest.csv",
    )
    output: SettingPath | None = setting(
        None, "Corpus JSONL to write.", shown="<root>/<corpus>/<corpus_>.jsonl", written=True
    )
    manifest_out: SettingPath | None = setting(
        None, "Replay manifest to write.", shown="beside the output", written=True
    )
    progress_path: SettingPath | None = setting(
        None, "Download progress file.", shown="<corpus_dir>/.download-progress.json", written=True
    )
    clips_subdir: InnerFolder = setting(
        "clips",
        "Folder inside the corpus folder that clips are fetched into and looked for first; the corpus's own folders "
        "come after it.",
    )
    clips_url: ClipsUrl = setting(
        "",
        f"Where clips are kept instead: a folder, or a prefix of an object store, s3://, gs:// or az://. Set in "
        f"{INGEST_TOML}, or for all corpora by {CLIPS_NAME}, each below its name; never in a run config.",
        shown="none",
        operator=True,
    )
    scratch_bytes: int = setting(
        SCRATCH_BYTES, "Bytes of an object store's clips that lie in a process's scratch at once.", ge=1_000_000
    )
    clip_suffix: ClipSuffix = setting(
        ".mp4",
        "Suffix added to names without a video suffix.",
        of_corpus="clip_suffix",
        shown="the corpus's, mostly .mp4",
    )
    corpus_version: str = setting("", "Release written into each row.", of_corpus="version", shown="the corpus's")
    max_rows: int | None = setting(
        None,
        "Take only the first rows of the annotation file.",
        of_corpus="default_cap",
        shown="the corpus's cap",
        ge=1,
    )
    full: bool = setting(False, "Take every row, whatever max_rows says.")
    attrition_warn_threshold: float = setting(
        0.10, "Share of rows lost to downloads above which a check warns.", ge=0, le=1
    )
    download_timeout_s: float = setting(
        120.0,
        "Longest time for one clip's transfer, in seconds.",
        of_corpus="download_timeout_s",
        shown="120, or the corpus's",
        ge=1,
        le=LONGEST_TIME_S,
    )
    probe_timeout_s: float = setting(60.0, "Longest time for one clip's probe, in seconds.", ge=1, le=LONGEST_TIME_S)
    bucket_prefix: Address = setting(
        "",
        "Address put before the name of a clip that has no URL, or before what the corpus's address templates make of "
        "it.",
        of_corpus="bucket_prefix",
        shown="the corpus's, mostly none",
    )
    hf: HubDataset = setting(
        "",
        "Dataset of the Hugging Face Hub that holds the clips, asked for those that are absent and have no URL. "
        "HF_TOKEN opens what is gated.",
        of_corpus="hf",
        shown="the corpus's, mostly none",
    )
    raw_video: RawVideo | None = setting(
        None,
        "What clips without a container (.yuv) are: a table of width, height, framerate and pix_fmt, each optional.",
        of_corpus="raw_video",
        shown="the corpus's, mostly none",
    )
    mos_scale: str | None = setting(
        None,
        f"Scale of the file's scores, where detection should not decide: {', '.join(OPINION_SCALES)}, or one that the "
        "corpus declares.",
        shown="detected from the whole file",
    )
    min_rows: int = setting(
        1, "Fewest rows the annotation file may have.", of_corpus="min_rows", shown="the corpus's", ge=1
    )
    max_manifest_rows: int | None = setting(
        None, "Most rows the annotation file may have.", of_corpus="max_rows", shown="the corpus's", ge=1
    )
    bad_rows_limit: float = setting(
        0.05,
        "Share of bad rows above which the annotation file is refused; a file of fewer than 100 rows may have 5, but "
        "never more than half.",
        ge=0,
        lt=1,
    )
    retry_failed: bool = setting(False, "Fetch again what an earlier run found gone for good.")
    rescan: bool = setting(False, "Read every clip again, though size and time of change stand.")
    allow_empty: bool = setting(False, "Publish though not one clip of this run could be read.")
    prune: bool = setting(False, "Keep only rows of this run whose clips are there; rows of other runs leave.")
    fetch: bool = setting(False, "Fetch and unpack the corpus's archives first.")
    archive_base: Address = setting(
        "",
        "Address put before the names of the corpus's archives: a mirror of your own.",
        of_corpus="archive_base",
        shown="the corpus's",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting("INFO", "Least level that is logged.")
    workers: int | None = setting(
        None, "Clips in hand at once.", shown="the larger of cores and per_host", ge=1, le=MOST_CLIPS_AT_ONCE
    )
    per_host: int = setting(8, "Transfers from one host at once.", ge=1, le=MOST_CLIPS_AT_ONCE)
    max_pixels: int = cap_setting("max_pixels", MAX_PIXELS, "7680 × 4320")
    max_duration_s: float = cap_setting("max_duration_s", MAX_DURATION_S)
    max_frames: int = cap_setting("max_frames", MAX_FRAMES)
    memory_budget: int | None = cap_setting("memory_budget", None, BUDGET_SHOWN)
    lock_wait_s: float = setting(10.0, "How long to wait for another run on the same corpus, in seconds.", ge=0)

    def caps(self) -> ClipCaps:
        """What may be decoded."""
        return ClipCaps(self.max_pixels, self.max_duration_s, self.max_frames, self.memory_budget)

    def clips_target(self) -> ClipRoot | None:
        """Where clips are kept that is named; None for the corpus's own folder."""
        if not self.clips_url:
            return None
        url = self.clips_url.rstrip("/")
        return ClipStore(url, self.scratch_bytes) if "://" in url else typed_path(self.clips_url)

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        if self.max_manifest_rows is not None and self.max_manifest_rows < self.min_rows:
            raise Unfit(f"{self.max_manifest_rows}", f"min_rows ({self.min_rows}) or more", "max_manifest_rows")
        return self


def resolve(
    corpus: Corpus,
    run_config: Mapping[str, Any],
    toml_path: Path,
    environment: Mapping[str, str] = os.environ,
) -> Resolved[IngestSettings]:
    """The settings of one corpus. A key whose run-config value is None is taken from a lower level.

    SettingsError names the level, the key, the value found and the values expected.
    """
    kept = environment.get(CLIPS_NAME, "").rstrip("/")
    levels = (
        Level(RUN_CONFIG, run_config),
        Level(INGEST_TOML, read_toml(toml_path)),
        Level(CLIPS_NAME, {"clips_url": f"{kept}/{corpus.name}"} if kept else {}),
    )
    resolved = resolve_levels(IngestSettings, levels, corpus, corpus.name)
    for level in levels:  # which scales there are is the corpus's to say
        if level.values.get("mos_scale") is not None:
            corpus.stated_scale(level.values["mos_scale"], f"{corpus.name}: {level.name}: mos_scale")
    values, origins = resolved.values, dict(resolved.origins)
    # ``full`` beats a cap of its own level or a lower one; a cap that a run states beats the file's ``full``.
    if values.full and (origins["max_rows"], origins["full"]) != (RUN_CONFIG, INGEST_TOML):
        values, origins["max_rows"] = values.but(max_rows=None), origins["full"]
    return Resolved(values, origins, toml_path if toml_path.is_file() else None)


def read_toml(path: Path) -> dict[str, Any]:
    """The keys of an ``ingest.toml``; empty where there is none. Relative paths are taken from its folder."""
    if not path.exists():
        return {}
    try:
        table = toml_table(path)
    except (ValueError, RecursionError, OSError) as error:
        raise SettingsError(
            f"{path}",
            found=f"not TOML ({error})",
            expected='lines such as max_rows = 500 or mos_scale = "1-5-acr"',
            next_step="correct it, or move it away to ingest by what the corpus declares",
        ) from error
    paths = {name for name, field in IngestSettings.model_fields.items() if core_type(field.annotation) is Path}
    if "://" not in str(table.get("clips_url", "")):
        paths.add("clips_url")
    # A home folder's ~ is expanded where the value is checked; joined to a folder it would be none.
    return {
        key: str(path.parent / value)
        if key in paths and isinstance(value, str) and value[:1] not in ("", "~")
        else value
        for key, value in table.items()
    }
