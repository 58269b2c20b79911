"""The error tree: every failure that bad input or a bad environment can cause. No error is raised here.

::

    VqaError
    ├── ArgumentError        a word of a command line or a call that names nothing there is
    ├── SettingsError        a setting, an ingest.toml, a corpus declaration
    ├── AnnotationError      the annotation file: absent, empty, of another corpus, unusable
    ├── ScaleError           opinion scores that fit no declared scale
    ├── IngestError          the ingest loop as a whole: counters that do not reconcile, a torn earlier output
    │   ├── LockedError      another run holds the corpus folder
    │   └── ServerGoneError  no clip could be fetched because no server answered
    ├── ClipError            one clip: costs that clip only
    │   ├── BrokenClipError  bytes that no probe accepts
    │   ├── TransientClipError  a time limit, a disk that fails: another try may do
    │   │   └── ChildDiedError  the process that read the clip died
    │   ├── TooLargeError    over a cap of pixels, length, frames or memory
    │   └── DownloadError    the bytes never arrived
    ├── SchemaError          a table that breaks its column specs
    ├── ChangedInputError    an input that was written to while a stage read it
    ├── TableError           a table file that cannot be read, or of no known format
    ├── NewerFormatError     a file of ours that a later version wrote
    ├── PublicationError     files of two runs that could not be put back
    ├── AggregateError       shards that cannot become one corpus
    ├── EncodeGridError      libvmaf reports and rows that cannot become an encode grid
    ├── LabelError           features and labels that do not join
    ├── FeatureError         measuring clips
    ├── ClusterError         workers elsewhere: none there, unfit, or gone in the middle of a run
    ├── ObjectStoreError     an object store that cannot be used: no bucket, no rights, no answer; a full scratch
    ├── TrainingError        tables a head must not be trained on
    │   ├── TooFewContentsError  rows of fewer contents than can be judged
    │   └── NoLabelledRowsError  real input without one labelled row
    ├── HeadError            a trained head's files, or rows that it cannot score
    ├── SharingError         what must not be passed on, or not to that place
    └── ProvenanceError      replay manifests
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from vqa_assets.printing import public


@dataclass(frozen=True)
class Make:
    """A next step: an asset is to be made, and ``rest`` is how the sentence goes on after its name.

    In Dagster's words it is materialized; who asks in Python is told the call instead (``api``).
    """

    asset: str
    rest: str = " again"

    def __str__(self) -> str:
        return f"materialize {self.asset}{self.rest}"


class VqaError(Exception):
    """A failure in four parts: what, found, expected, and what to do next, which may be to ``make`` an asset.

    ``str()`` reads ``what: found, expected …; next``; parts that do not apply are left out. What came from outside is
    escaped in it, and its addresses have lost their secrets (``printing``).
    """

    def __init__(self, what: str, *, found: str = "", expected: str = "", next_step: str | Make = "") -> None:
        self.what, self.found, self.expected, self.next_step = map(public, (what, found, expected, str(next_step)))
        self.make = next_step if isinstance(next_step, Make) else None
        super().__init__(self.what, self.found, self.expected, self.next_step)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.what, self.found, self.expected, self.step))

    @property
    def step(self) -> str | Make:
        """The next step for another error that takes this one's place."""
        return self.make or self.next_step

    def __str__(self) -> str:
        facts = ", ".join(part for part in (self.found, self.expected and f"expected {self.expected}") if part)
        message = f"{self.what}: {facts}" if facts else self.what
        return public(f"{message}; {self.next_step}" if self.next_step else message)


def _rebuilt(kind: type[VqaError], what: str, found: str, expected: str, next_step: str | Make) -> VqaError:
    return kind(what, found=found, expected=expected, next_step=next_step)


class ArgumentError(VqaError):
    """A word of a command line, or an argument of a call, that names nothing there is; nothing was done."""


class SettingsError(VqaError):
    """A setting, an ``ingest.toml`` or a corpus declaration that cannot be used."""


class AnnotationError(VqaError):
    """An annotation file that is absent, empty, of another corpus, or not usable."""


class ScaleError(VqaError):
    """Opinion scores that fit none of the corpus's declared scales."""


class IngestError(VqaError):
    """The ingest loop as a whole failed; the earlier output is kept."""


class LockedError(IngestError):
    """Another run holds the corpus folder."""


class ServerGoneError(IngestError):
    """No clip could be fetched because no server answered."""


class ClipError(VqaError):
    """One clip failed; its neighbours are untouched."""


class BrokenClipError(ClipError):
    """The clip's bytes are there, and no probe accepts them."""


class TransientClipError(ClipError):
    """The clip failed this time for a reason that says nothing about its bytes: a time limit, a disk, want of memory.

    Counted and named like any failure, and never remembered.
    """


class ChildDiedError(TransientClipError):
    """The child process that read the clip died: it ``crashed`` by itself, or was killed, for want of memory say.

    One death says nothing about the clip; several do. ``memory_bytes`` is what it held last, 0 where that is not known.
    """

    def __init__(self, what: str, *, crashed: bool = False, memory_bytes: int = 0, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.crashed, self.memory_bytes = crashed, memory_bytes

    def __reduce__(self) -> tuple[object, ...]:
        parts = {"found": self.found, "expected": self.expected, "next_step": self.step}
        return (partial(type(self), self.what, crashed=self.crashed, memory_bytes=self.memory_bytes, **parts), ())


class TooLargeError(ClipError):
    """The clip is over a cap of pixels, length, frames or memory: whole perhaps, and not decoded.

    ``header`` is its width, height, frames a second and seconds, where its header says them.
    """

    def __init__(self, what: str, *, header: tuple[int, int, float, float] | None = None, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.header = header

    def __reduce__(self) -> tuple[object, ...]:
        parts = {"found": self.found, "expected": self.expected, "next_step": self.step}
        return (partial(type(self), self.what, header=self.header, **parts), ())


class DownloadError(ClipError):
    """The clip's bytes never arrived.

    ``permanent`` is true for answers that will not change (404, a wrong scheme); ``unreachable`` where no server
    answered.
    """

    def __init__(self, reason: str, *, permanent: bool, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.permanent, self.unreachable = self.what, permanent, unreachable

    def __reduce__(self) -> tuple[object, ...]:
        return (_download_error, (self.reason, self.permanent, self.unreachable))


def _download_error(reason: str, permanent: bool, unreachable: bool) -> DownloadError:
    return DownloadError(reason, permanent=permanent, unreachable=unreachable)


class SchemaError(VqaError):
    """A table that breaks its column specs."""


class ChangedInputError(VqaError):
    """An input that is not the file that was hashed when a stage began to read it."""


class TableError(VqaError):
    """A table file that is not there, of no known format, or not readable to its end."""


class NewerFormatError(VqaError):
    """A file of ours in a format that a later version wrote: it is neither read nor replaced.

    No other error's kind, so that nobody takes such a file for a damaged one.
    """


class PublicationError(VqaError):
    """A publication that was cut short, and whose earlier files could not be put back; the next command does it."""


class AggregateError(VqaError):
    """Shards that cannot become one corpus."""


class EncodeGridError(VqaError):
    """libvmaf reports and rows that cannot become an encode grid."""


class LabelError(VqaError):
    """Features and labels that do not join."""


class FeatureError(VqaError):
    """Features that could not be measured."""


class ClusterError(VqaError):
    """Workers of another process or machine that are not there, not fit for the work, or gone."""


class ObjectStoreError(VqaError):
    """An object store that cannot be used, or a scratch that its clips do not get into: no clip is to blame."""


class TrainingError(VqaError):
    """Input that a head must not be trained on."""


class TooFewContentsError(TrainingError):
    """Rows that nothing is wrong with but their number: no head can be trained on them and judged."""


class NoLabelledRowsError(TrainingError):
    """Real input without one labelled row; a run that allows it may go on with synthetic rows."""


class HeadError(VqaError):
    """A trained head whose files cannot be used, or rows that it cannot score."""


class SharingError(VqaError):
    """What a licence keeps from being passed on, what is not there to be, or a folder that is not ours to replace."""


class ProvenanceError(VqaError):
    """A replay manifest that cannot be read, or does not match."""
