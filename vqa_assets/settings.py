"""One corpus's ingest settings, and where each came from: run config, ``ingest.toml``, the corpus, the default.

The table ``INGEST_SETTINGS`` is the only place that names a setting, its default, its bounds and its sentence; the
run config in the web UI, ``ingest.toml`` and the docs are made from it.
"""

import math
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import ADDRESS, LONGEST_TIME_S, SUFFIX
from vqa_assets.corpora.raw_video import RAW_FORMATS, RawVideo
from vqa_assets.errors import SettingsError

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_RAW_KEYS = tuple(f.name for f in fields(RawVideo))
_MOST = 4096
"""No run has more clips in hand."""
_LONGEST_NAME_BYTES = 255
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What no file name and no UTF-8 can hold: a null, or half a surrogate pair."""
_ADDRESS_SHAPE = "It begins with https:// or http://."


def _is_inner_folder(text: str) -> bool:
    """Whether a folder's name can stand, and means no folder above the corpus's."""
    parts = PurePosixPath(text).parts
    if _NO_TEXT.search(text) or any(len(part.encode()) > _LONGEST_NAME_BYTES for part in parts):
        return False
    return bool(text) and ".." not in parts and parts != ("/",)


@dataclass(frozen=True)
class Setting:
    """One setting: its type, what it does in a sentence, its general default, what the corpus declares, its bounds.

    A text has to keep ``fits``; ``shape`` says in a sentence what that is.
    """

    name: str
    type: type
    doc: str
    default: Any = None
    of_corpus: Callable[[Corpus], Any] | None = None
    shown_default: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    fits: Callable[[str], object] | None = None
    shape: str = ""

    @property
    def help(self) -> str:
        """The sentence with the default and the bounds, as a form shows it."""
        bounds = f" At least {self.low:g}." if self.low is not None else ""
        bounds += f" At most {self.high:g}." if self.high is not None else ""
        bounds += f" One of {', '.join(self.choices)}." if self.choices else ""
        bounds += f" {self.shape}" if self.shape else ""
        shown = self.shown_default or ("none" if self.default is None else str(self.default))
        return f"{self.doc} Default: {shown}.{bounds}"


INGEST_SETTINGS: tuple[Setting, ...] = (
    Setting("corpus_dir", Path, "Folder of the corpus.", shown_default="<root>/<corpus>"),
    Setting(
        "manifest_csv",
        Path,
        "Annotation file; one that is named and missing is an error, never a fallback.",
        shown_default="<corpus_dir>/manifest.csv",
    ),
    Setting("output", Path, "Corpus JSONL to write.", shown_default="<root>/<corpus>/<corpus_>.jsonl"),
    Setting("manifest_out", Path, "Replay manifest to write.", shown_default="beside the output"),
    Setting(
        "progress_path",
        Path,
        "Download progress file.",
        shown_default="<corpus_dir>/.download-progress.json",
    ),
    Setting(
        "clips_subdir",
        str,
        "Folder inside the corpus folder that clips are fetched into and looked for first; the corpus's own folders "
        "come after it.",
        "clips",
        fits=_is_inner_folder,
        shape="A dot stands for the corpus folder itself; none above it.",
    ),
    Setting(
        "clip_suffix",
        str,
        "Suffix added to names without a video suffix.",
        of_corpus=lambda c: c.clip_suffix,
        shown_default="the corpus's, mostly .mp4",
        fits=SUFFIX.fullmatch,
        shape="A suffix such as .mp4.",
    ),
    Setting(
        "corpus_version",
        str,
        "Release written into each row.",
        of_corpus=lambda c: c.version,
        shown_default="the corpus's",
    ),
    Setting(
        "max_rows",
        int,
        "Take only the first rows of the annotation file.",
        of_corpus=lambda c: c.default_cap,
        shown_default="the corpus's cap",
        low=1,
    ),
    Setting("full", bool, "Take every row, whatever max_rows says.", False),
    Setting(
        "attrition_warn_threshold",
        float,
        "Share of rows lost to downloads above which a check warns.",
        0.10,
        low=0,
        high=1,
    ),
    Setting(
        "download_timeout_s",
        float,
        "Longest time for one clip's transfer, in seconds.",
        of_corpus=lambda c: c.download_timeout_s,
        shown_default="120, or the corpus's",
        low=1,
        high=LONGEST_TIME_S,
    ),
    Setting(
        "probe_timeout_s", float, "Longest time for one clip's probe, in seconds.", 60.0, low=1, high=LONGEST_TIME_S
    ),
    Setting(
        "bucket_prefix",
        str,
        "Address put before the name of a clip that has no URL.",
        of_corpus=lambda c: c.bucket_prefix,
        shown_default="the corpus's, mostly none",
        fits=ADDRESS.fullmatch,
        shape=_ADDRESS_SHAPE,
    ),
    Setting(
        "raw_video",
        RawVideo,
        "What clips without a container (.yuv) are: a table of width, height, framerate and pix_fmt, each optional.",
        of_corpus=lambda c: c.raw_video,
        shown_default="the corpus's, mostly none",
    ),
    Setting(
        "mos_scale",
        str,
        "Scale of the file's scores, where detection should not decide.",
        shown_default="detected from the whole file",
        choices=("1-5-acr", "0-100-continuous"),
    ),
    Setting(
        "min_rows",
        int,
        "Fewest rows the annotation file may have.",
        of_corpus=lambda c: c.min_rows,
        shown_default="the corpus's",
        low=1,
    ),
    Setting(
        "max_manifest_rows",
        int,
        "Most rows the annotation file may have.",
        of_corpus=lambda c: c.max_rows,
        shown_default="the corpus's",
        low=1,
    ),
    Setting("retry_failed", bool, "Fetch again what an earlier run found gone for good.", False),
    Setting("rescan", bool, "Read every clip again, though size and time of change stand.", False),
    Setting("prune", bool, "Keep only rows of this run whose clips are there; rows of other runs leave.", False),
    Setting("fetch", bool, "Fetch and unpack the corpus's archives first.", False),
    Setting(
        "archive_base",
        str,
        "Address put before the names of the corpus's archives: a mirror of your own.",
        of_corpus=lambda c: c.archive_base,
        shown_default="the corpus's",
        fits=ADDRESS.fullmatch,
        shape=_ADDRESS_SHAPE,
    ),
    Setting("log_level", str, "Least level that is logged.", "INFO", choices=LOG_LEVELS),
    Setting(
        "workers", int, "Clips in hand at once.", shown_default="the larger of cores and per_host", low=1, high=_MOST
    ),
    Setting("per_host", int, "Transfers from one host at once.", 8, low=1, high=_MOST),
    Setting("lock_wait_s", float, "How long to wait for another run on the same corpus, in seconds.", 10.0, low=0),
)
_BY_NAME: Mapping[str, Setting] = {s.name: s for s in INGEST_SETTINGS}


@dataclass(frozen=True)
class IngestSettings:
    """The resolved settings of one corpus; fields as in ``INGEST_SETTINGS``, ``max_rows`` None meaning no cap."""

    corpus_dir: Path | None
    manifest_csv: Path | None
    output: Path | None
    manifest_out: Path | None
    progress_path: Path | None
    clips_subdir: str
    clip_suffix: str
    corpus_version: str
    max_rows: int | None
    full: bool
    attrition_warn_threshold: float
    download_timeout_s: float
    probe_timeout_s: float
    bucket_prefix: str
    raw_video: RawVideo | None
    mos_scale: str | None
    min_rows: int
    max_manifest_rows: int | None
    retry_failed: bool
    rescan: bool
    prune: bool
    fetch: bool
    archive_base: str
    log_level: str
    workers: int | None
    per_host: int
    lock_wait_s: float


@dataclass(frozen=True)
class ResolvedSettings:
    """Settings with the level each came from: ``run config``, ``ingest.toml``, ``corpus`` or ``default``.

    ``toml`` is the ``ingest.toml`` that was read, if there was one."""

    values: IngestSettings
    origins: Mapping[str, str]
    toml: Path | None = None

    def described(self) -> dict[str, dict[str, object]]:
        """Name → {value, from}, for the replay manifest, which shows paths in its own way."""
        return {
            f.name: {"value": _plain(getattr(self.values, f.name)), "from": self.origins[f.name]}
            for f in fields(self.values)
        }


def _plain(value: Any) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def resolve(corpus: Corpus, run_config: Mapping[str, Any], toml_path: Path) -> ResolvedSettings:
    """The settings of one corpus. A key whose run-config value is None is taken from a lower level.

    SettingsError names the level, the key, the value found and the values expected.
    """
    levels = [
        ("run config", {k: v for k, v in run_config.items() if v is not None}),
        ("ingest.toml", read_toml(toml_path)),
    ]
    checked = [
        (name, {k: _checked(v, k, f"{corpus.name}: {name}") for k, v in level.items()}) for name, level in levels
    ]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in INGEST_SETTINGS:
        values[setting.name], origins[setting.name] = _first(setting, checked, corpus)
    if values["full"] and not _cap_outranks_full(origins):
        values["max_rows"], origins["max_rows"] = None, origins["full"]
    return ResolvedSettings(IngestSettings(**values), origins, toml_path if toml_path.is_file() else None)


def read_toml(path: Path) -> dict[str, Any]:
    """The keys of an ``ingest.toml``; empty where there is none. Relative paths are taken from its folder."""
    if not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise SettingsError(
            f"{path}",
            found=f"not TOML ({error})",
            expected='lines such as max_rows = 500 or mos_scale = "1-5-acr"',
            next_step="correct the line it names",
        ) from error
    return {key: _from_folder(path.parent, key, value) for key, value in found.items()}


def _from_folder(folder: Path, key: str, value: Any) -> Any:
    is_path = key in _BY_NAME and _BY_NAME[key].type is Path
    return folder / Path(value).expanduser() if is_path and isinstance(value, str) and value else value


def _first(setting: Setting, levels: list[tuple[str, dict[str, Any]]], corpus: Corpus) -> tuple[Any, str]:
    for name, level in levels:
        if setting.name in level:
            return level[setting.name], name
    if setting.of_corpus is not None:
        return setting.of_corpus(corpus), "corpus"
    return setting.default, "default"


def _cap_outranks_full(origins: Mapping[str, str]) -> bool:
    """True where ``max_rows`` was set at a higher level than ``full``."""
    return origins["max_rows"] == "run config" and origins["full"] == "ingest.toml"


def _checked(value: Any, key: str, where: str) -> Any:
    setting = _BY_NAME.get(key)
    if setting is None:
        raise SettingsError(
            f"{where}", found=f"unknown key {key!r}", expected=f"one of {', '.join(_BY_NAME)}", next_step="correct it"
        )
    return check_setting(setting, value, where)


def check_setting(setting: Setting, value: Any, where: str) -> Any:
    """A value of the setting's type within its bounds and choices; SettingsError says what is expected."""
    coerced = _coerced(value, setting, where)
    if not _inside(coerced, setting) or (setting.choices and coerced not in setting.choices):
        raise SettingsError(
            f"{where}: {setting.name}", found=repr(value), expected=setting.help, next_step="correct it"
        )
    return coerced


def _inside(value: Any, setting: Setting) -> bool:
    """Whether a number keeps the setting's bounds, NaN and infinity none, and a text its shape."""
    if setting.type not in (int, float):
        return setting.fits is None or bool(setting.fits(value))
    low = -math.inf if setting.low is None else setting.low
    high = math.inf if setting.high is None else setting.high
    return bool(-math.inf < value < math.inf and low <= value <= high)


def _coerced(value: Any, setting: Setting, where: str) -> Any:
    kind = setting.type
    if kind is RawVideo and isinstance(value, Mapping):
        return _raw_video(value, f"{where}: {setting.name}")
    if kind is Path and isinstance(value, (str, Path)) and str(value):
        return Path(value).expanduser()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= sys.maxsize else math.inf
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    kind_name = {Path: "a path", RawVideo: f"a table of {', '.join(_RAW_KEYS)}"}.get(kind, kind.__name__)
    raise SettingsError(f"{where}: {setting.name}", found=repr(value), expected=kind_name, next_step="correct it")


def _raw_video(table: Mapping[str, Any], where: str) -> RawVideo:
    """The raw video that a table describes; SettingsError names the key that is unknown or out of bounds."""
    unknown = sorted(set(table) - set(_RAW_KEYS))
    if unknown:
        raise SettingsError(
            where,
            found=f"unknown key {unknown[0]!r}",
            expected=f"some of {', '.join(_RAW_KEYS)}",
            next_step="correct it",
        )
    for key, value in table.items():
        good, expected = _raw_value(key, value)
        if not good:
            raise SettingsError(f"{where}.{key}", found=repr(value), expected=expected, next_step="correct it")
    raw = RawVideo(**table)
    return replace(raw, framerate=float(raw.framerate))


def _raw_value(key: str, value: Any) -> tuple[bool, str]:
    """Whether a key of ``raw_video`` may have this value, and what is expected of it."""
    if key == "pix_fmt":
        return isinstance(value, str) and value in RAW_FORMATS, f"one of {', '.join(RAW_FORMATS)}"
    kinds = (int, float) if key == "framerate" else (int,)
    number = isinstance(value, kinds) and not isinstance(value, bool)
    return number and 0 < value <= 100_000, "a number above 0" if key == "framerate" else "a whole number above 0"
