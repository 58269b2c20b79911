"""Lists of clips with scores that end-to-end trainers read, split by content, per corpus and part one file.

Formats, as the trainers' own code reads them:

- DOVER (https://github.com/VQAssessment/DOVER, ``ViewDecompositionDataset``): lines ``path,aesthetic,technical,score``
  without a header; the path is below ``data_prefix``; the two scores in the middle are read where a run asks for
  them, and are -1 here. A line with another number of commas makes it drop all labels of the file without a word.
- Q-Align (https://github.com/Q-Future/Q-Align, ``LazySupervisedDataset``): a JSON list of objects with ``id``,
  ``image`` (below ``image_folder``; a video where it ends in ``mp4``) and ``conversations``: the question with one
  ``<|image|>``, which stands for all frames of a video, and the answer, which names one of five levels. Levels are five
  equal intervals between the lowest and the highest score (arXiv 2312.17090, section 3).
- csv: a table with a header.

Scores are on their corpus's own scale, turned round within it where less is better: more is better in every list.
"""

import bisect
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.clips.folders import is_there
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.contents import (
    SPLIT_WORDS,
    assign_folds,
    balanced_folds,
    content_groups,
    content_of_group,
    joined_groups,
)
from vqa_assets.errors import SchemaError, SharingError
from vqa_assets.ingest.layout import CorpusLayout
from vqa_assets.printing import plain
from vqa_assets.provenance.reading import read_now, refuse_changes
from vqa_assets.sharing.folder import publishing_folder
from vqa_assets.sharing.licences import LICENCE_FILE, LicensedSource, licence_text, refuse_forbidden
from vqa_assets.tables.files import read_json_lines
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.validation import why_no_clip
from vqa_assets.unified.related import upload_ids

LEVELS = ("bad", "poor", "fair", "good", "excellent")
"""Q-Align's words, from the lowest interval up: those of ITU-T P.910."""
PARTS = 10
"""Contents are dealt into so many equal parts: one is for val, one for test, the others for train."""
_LEAST_CONTENTS = 3
_QUESTION, _ANSWER = "How would you rate the quality of this video?\n<|image|>", "The quality of the video is {}."
_CSV_COLUMNS = ("path", "mos", "mos_scale", "mos_std_dev", "n_ratings", "corpus", "content_id", "src", "src_sha256")
_EXAMPLES, _LONGEST_SHOWN = 3, 80


@dataclass(frozen=True)
class ScoredClip:
    """One clip with its score: more is better. ``path`` is how the list names its file."""

    corpus: str
    path: str
    score: float
    row: Mapping[str, Any]


@dataclass
class CorpusLists:
    """One corpus's clips that can be listed, and why others cannot: reason → their names."""

    corpus: Corpus
    rows: int = 0
    clips: list[ScoredClip] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, why: str, src: str) -> None:
        """Count a clip as not listed."""
        self.left_out.setdefault(why, []).append(src)


@dataclass(frozen=True)
class ListFormat:
    """How one trainer reads clips: the lists' suffix, why a clip cannot stand in them (empty: it can), and the text.

    ``unfit`` takes the clip's path and its row.

    ``text`` takes the clips of one list, and the edges between the levels of its corpus.
    """

    suffix: str
    unfit: Callable[[str, Mapping[str, Any]], str]
    text: Callable[[Sequence[ScoredClip], Sequence[float]], str]


def _dover(clips: Sequence[ScoredClip], _: Sequence[float]) -> str:
    return "".join(f"{clip.path},-1,-1,{clip.score!r}\n" for clip in clips)


def _q_align(clips: Sequence[ScoredClip], edges: Sequence[float]) -> str:
    rows = [
        {
            "id": f"{clip.row['src']}->{clip.score!r}",
            "image": clip.path,
            "conversations": [
                {"from": "human", "value": _QUESTION},
                {"from": "gpt", "value": _ANSWER.format(LEVELS[bisect.bisect_left(edges, clip.score)])},
            ],
        }
        for clip in clips
    ]
    return json.dumps(rows, indent=1) + "\n"


def _csv(clips: Sequence[ScoredClip], _: Sequence[float]) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_CSV_COLUMNS)
    for clip in clips:
        stated = {**clip.row, "path": clip.path, "mos": repr(clip.score), "corpus": clip.corpus}
        table.writerow([stated.get(name, "") for name in _CSV_COLUMNS])
    return out.getvalue()


def level_edges(scores: Sequence[float]) -> list[float]:
    """The four edges between five equal intervals from the lowest to the highest score; an edge is of the lower one."""
    low, high = min(scores), max(scores)
    return [low + number * (high - low) / len(LEVELS) for number in range(1, len(LEVELS))]


def _not_for_dover(path: str, row: Mapping[str, Any]) -> str:
    """A path must stand in a line of fields with commas; a raw clip is taken for one of LIVE-Qualcomm."""
    if path.endswith(".yuv") and (row.get("width"), row.get("height")) != (1920, 1080):
        return "raw (.yuv) and not 1920×1080, for which DOVER takes every raw clip"
    return (
        "with a comma, a line break or a blank at an end in its path"
        if {*path} & {*",\n\r"} or path != path.strip()
        else ""
    )


def _not_for_q_align(path: str, _: Mapping[str, Any]) -> str:
    return "" if path.endswith("mp4") else "not .mp4, which alone Q-Align's trainer opens as a video"


FORMATS: Mapping[str, ListFormat] = {
    "dover": ListFormat(".txt", _not_for_dover, _dover),
    "q-align": ListFormat(".json", _not_for_q_align, _q_align),
    "csv": ListFormat(".csv", lambda *_: "", _csv),
}
"""Trainer → how it reads clips."""


@dataclass(frozen=True)
class ListSettings:
    """What lists are made of: ``reader`` is one of ``FORMATS``, ``seed`` deals the contents out.

    Paths are below the corpus's folder of clips unless ``absolute``. With ``own_split`` the words of rows that have a
    split count, and ``may`` is the operator's word that licences allow it.
    """

    reader: str
    seed: int
    absolute: bool = False
    own_split: bool = False
    may: bool = False


def export(
    names: Sequence[str], target: Path, root: DataRoot, corpora: Mapping[str, Corpus], settings: ListSettings
) -> tuple[str, ...]:
    """Write the folder ``target`` with the lists of some corpora (empty: of each that was ingested); lines about it.

    ``<corpus>/<train|val|test>.<suffix>``; a part without a clip has no file. All corpora are split together: clips of
    one content, of the same bytes or of the same upload are in one part, whichever corpora they are of.

    SharingError where a licence forbids it, no clip is there, contents are fewer than three, or ``target`` is no folder
    of ours; SchemaError where a JSONL is damaged.
    """
    layouts = {name: CorpusLayout.standing(corpora[name], root) for name in names or corpora}
    ingested = {name: layout for name, layout in layouts.items() if layout.output.is_file()}
    missing = sorted(set(layouts) - set(ingested)) if names else []
    if missing or not ingested:
        raise SharingError(
            f"nothing to export{' of ' + ', '.join(missing) if missing else ''} yet",
            found=f"found no {layouts[missing[0]].output}" if missing else f"no corpus JSONL under {root.path}",
            expected="a corpus that was ingested",
            next_step=f"vqa-assets ingest {missing[0] if missing else 'CORPUS'}",
        )
    sources = [LicensedSource.of(name, corpora[name]) for name in ingested]
    at_word = refuse_forbidden(sources, ", ".join(ingested), scores=True, may=settings.may)
    form = FORMATS[settings.reader]
    inputs = read_now({name: layout.output for name, layout in ingested.items()})
    read = [_read(layout, form, absolute=settings.absolute) for layout in ingested.values()]
    refuse_changes(inputs.values())
    clips = [clip for corpus in read for clip in corpus.clips]
    if not clips:
        told = "; ".join(line for corpus in read for line in _lines(corpus, {}))
        raise SharingError(
            "no clip to list",
            found=told,
            expected="clips that lie on this disk",
            next_step="fetch or stage them (vqa-assets ingest), or name another corpus",
        )
    groups = _groups(clips, corpora)
    drawn = _drawn(groups, settings.seed)
    parts = _with_own_split(clips, groups, drawn, read) if settings.own_split else [drawn[group] for group in groups]
    listed: dict[str, dict[str, list[ScoredClip]]] = {name: {word: [] for word in SPLIT_WORDS} for name in ingested}
    for clip, part in zip(clips, parts, strict=True):
        if part is not None:
            listed[clip.corpus][part].append(clip)
    counts = {name: {word: len(of) for word, of in own.items()} for name, own in listed.items()}
    edges = {name: _edges(own) for name, own in listed.items()}
    with publishing_folder(target, f"lists of {', '.join(ingested)} for {settings.reader}") as draft:
        for name, own in listed.items():
            for word, of in own.items():
                if of:
                    draft.write(f"{name}/{word}{form.suffix}", form.text(of, edges[name]).encode())
        draft.write(LICENCE_FILE, licence_text(sources, at_word).encode())
        draft.facts.update(
            clips=counts,
            inputs={name: {"path": root.shown(one.path), "sha256": one.sha256} for name, one in inputs.items()},
            contents=len(drawn),
            left_out={one.corpus.name: {why: len(of) for why, of in one.left_out.items()} for one in read},
            seed=settings.seed,
            own_split=settings.own_split,
            paths_below={} if settings.absolute else {name: root.shown(_base(of)) for name, of in ingested.items()},
            level_edges=edges if settings.reader == "q-align" else {},
            at_your_word=list(at_word),
        )
    files = sum(bool(of) for own in listed.values() for of in own.values())
    return (
        *(line for corpus in read for line in _lines(corpus, counts[corpus.corpus.name])),
        *(_own_splits(corpus) for corpus in read if settings.own_split),
        f"{files} list{'s' * (files > 1)}, {len(drawn)} contents, seed {settings.seed}: no content is in two parts",
        *([f"at your word (--i-may): {', '.join(at_word)}"] if at_word else []),
    )


def _read(layout: CorpusLayout, form: ListFormat, *, absolute: bool) -> CorpusLists:
    """The clips of a corpus's JSONL that lie on this disk and can be listed."""
    found, base, listed = CorpusLists(layout.corpus), _base(layout), set[str]()
    scales = layout.corpus.scales
    for line in read_json_lines(layout.output):
        src, score = line.row.get("src"), line.row.get("mos")
        is_score = isinstance(score, int | float) and not isinstance(score, bool) and abs(score) <= sys.float_info.max
        if not isinstance(src, str) or not is_score or why_no_clip(line.row):
            raise SchemaError(
                f"{layout.output}:{line.number}",
                found=f"src {src!r:.80}, mos {score!r:.80}",
                expected="a clip's name, its SHA-256 and its score",
                next_step=f"vqa-assets ingest {layout.corpus.name}",
            )
        found.rows += 1
        # Rows of earlier versions say no scale: where the corpus has one only, it is that.
        named = line.row.get("mos_scale", scales[0].name if len(scales) == 1 else None)
        scale = layout.corpus.scale_named(named)
        place = layout.clips.path_of(src, str(line.row.get("score_drop") or ""))
        if not isinstance(place, Path):
            found.leave_out("in an object store, which trainers do not read", src)
            continue
        path = str(place.absolute()) if absolute else os.path.relpath(place, base)
        if scale is None:
            found.leave_out("on a scale that its corpus does not have", src)
        elif not scale.holds(float(line.row["mos"])):
            found.leave_out("scored outside its scale", src)
        elif src in listed:
            found.leave_out("that a row before names, too", src)
        elif not is_there(place):
            found.leave_out("not there", src)
        elif not _is_text(path):
            found.leave_out("with a name that is no text", src)
        elif why := form.unfit(path, line.row):
            found.leave_out(why, src)
        else:
            listed.add(src)
            upward = layout.corpus.upward_score({**line.row, "mos_scale": named})
            found.clips.append(ScoredClip(layout.corpus.name, path, upward, line.row))
    return found


def _base(layout: CorpusLayout) -> Path:
    """The folder below which a corpus's lists name its clips: a trainer's ``data_prefix``, or ``image_folder``."""
    target = layout.clips.target
    return (target if isinstance(target, Path) else layout.folder).absolute()


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _groups(clips: Sequence[ScoredClip], corpora: Mapping[str, Corpus]) -> tuple[str, ...]:
    """Per clip what it shows: its content id, else itself; clips of equal bytes, or of one upload, show the same."""
    contents = [str(one) if (one := clip.row.get("content_id")) else None for clip in clips]
    groups = content_groups(contents, [f"{clip.corpus}/{clip.row['src']}" for clip in clips])
    groups = joined_groups(groups, [clip.row.get("src_sha256") for clip in clips])
    uploads: list[str | None] = [None] * len(clips)
    for name in dict.fromkeys(clip.corpus for clip in clips):
        places = [number for number, clip in enumerate(clips) if clip.corpus == name]
        ids = upload_ids([clips[number].row["src"] for number in places], corpora[name].name_ids)
        for number, upload in zip(places, ids, strict=True):
            uploads[number] = upload
    return joined_groups(groups, uploads)


def _drawn(groups: Sequence[str], seed: int) -> dict[str, str]:
    """Content → ``train``, ``val`` or ``test``: of ten parts of about equal size eight, one and one.

    Of fewer than twenty contents the parts are of about as many clips, of fewer than ten there are as many as contents.
    SharingError under three.
    """
    names = sorted(set(groups))
    if len(names) < _LEAST_CONTENTS:
        raise SharingError(
            "too few contents to split",
            found=f"{len(groups)} clips of {len(names)} content{'s' if len(names) > 1 else ''}: "
            + ", ".join(map(content_of_group, names)),
            expected=f"at least {_LEAST_CONTENTS}: no content is in two of {', '.join(SPLIT_WORDS)}",
            next_step="add clips of other contents, or name another corpus beside it",
        )
    few = len(names) < 2 * PARTS
    folds = balanced_folds(groups, min(PARTS, len(names)), seed) if few else assign_folds(groups, PARTS, seed)
    # The last ones hold fewest clips of few contents: the first content that is dealt out is the largest.
    last = max(folds)
    words = {last: "test", last - 1: "val"}
    return {group: words.get(fold, "train") for group, fold in zip(groups, folds, strict=True)}


def _with_own_split(
    clips: Sequence[ScoredClip], groups: Sequence[str], drawn: Mapping[str, str], read: Sequence[CorpusLists]
) -> list[str | None]:
    """Per clip its part by its corpus's own split, where that has one; None for a clip that is left out.

    A content that stands in several parts is of the last of train, val and test, and its clips of the others are left
    out: what is tested on is never trained on.
    """
    own = [word if (word := clip.row.get("split")) in SPLIT_WORDS else None for clip in clips]
    of_group: dict[str, str] = {}
    for group, word in zip(groups, own, strict=True):
        if word is not None:
            of_group[group] = max(of_group.get(group, word), word, key=SPLIT_WORDS.index)
    by_name = {one.corpus.name: one for one in read}
    parts: list[str | None] = []
    for clip, group, word in zip(clips, groups, own, strict=True):
        part = of_group.get(group, drawn[group])
        if word in (None, part):
            parts.append(part)
        else:
            by_name[clip.corpus].leave_out(f"of {word}, whose content is in {part}, too", clip.row["src"])
            parts.append(None)
    return parts


def _edges(own: Mapping[str, Sequence[ScoredClip]]) -> list[float]:
    """The edges between a corpus's levels, by the clips that train; by all where none does, empty of none at all.

    What a trainer is told must not come from the scores that it is tested on.
    """
    scores = [clip.score for clip in own["train"] or [clip for of in own.values() for clip in of]]
    return level_edges(scores) if scores else []


def _own_splits(read: CorpusLists) -> str:
    """How many clips have a split of their own: where none has, taking the corpora's own splits changes nothing."""
    words = Counter(str(word) for clip in read.clips if (word := clip.row.get("split")))
    own = sum(words[word] for word in SPLIT_WORDS)
    others = [f"{words[word]} × {plain(word):.40}" for word in words if word not in SPLIT_WORDS][:_EXAMPLES]
    unknown = f" ({', '.join(others)} is none of {', '.join(SPLIT_WORDS)})" if others else ""
    drawn = len(read.clips) - own
    return f"{read.corpus.name}: {own} of its {own + drawn} clips by their own split, {drawn} drawn{unknown}"


def _lines(read: CorpusLists, counts: Mapping[str, int]) -> list[str]:
    """What became of a corpus's rows, in lines."""
    name, left = read.corpus.name, Counter({why: len(of) for why, of in read.left_out.items()})
    parts = ", ".join(f"{counts.get(word, 0)} {word}" for word in SPLIT_WORDS)
    lines = [f"{name}: {parts} of {read.rows} rows"]
    for why, count in left.items():
        names = [f"{name[:_LONGEST_SHOWN]}{'…' * (len(name) > _LONGEST_SHOWN)}" for name in read.left_out[why]]
        shown = ", ".join(map(plain, names[:_EXAMPLES])) + (", …" if count > _EXAMPLES else "")
        lines.append(f"{name}: left out {count} clip{'s' if count > 1 else ''} {why}: {shown}")
    return lines
