"""Where a failed run is reported: in the log, and to a webhook where one is named.

Any object with ``notify`` can stand in for it. Which runs failed, and why, is in ``sensors.failed_runs``.
"""

import json
import os
from dataclasses import asdict, dataclass
from typing import Protocol
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from vqa_assets.printing import logger
from vqa_assets.stages.run import WEBHOOK_NAME

SCHEMA = "vqa-run-failure-v1"
_log = logger("vqa_assets.notifier")


@dataclass(frozen=True)
class StepFailure:
    """One step of a run and why it failed, in the words of its error."""

    step: str
    reason: str


@dataclass(frozen=True)
class RunFailure:
    """A run that failed: what it was to make, for which partition, and why it did not.

    ``job`` is the job, schedule or sensor it belongs to; empty where a person chose assets.
    """

    run_id: str
    job: str
    assets: tuple[str, ...]
    partition: str | None
    failures: tuple[StepFailure, ...]

    @property
    def text(self) -> str:
        """The failure in one paragraph, as a chat shows it."""
        what = " + ".join(self.assets) or self.job or "a run"
        where = f" [{self.partition}]" if self.partition else ""
        why = "; ".join(f"{f.step}: {f.reason}" for f in self.failures)
        return f"{what}{where} failed (run {self.run_id}): {why or 'no reason was recorded'}"

    def as_json(self) -> dict[str, object]:
        """The object that is posted."""
        return {"schema": SCHEMA, "text": self.text, **asdict(self)}


class Notifier(Protocol):
    """What the failure sensor needs: it is called once a run, and must not raise."""

    def notify(self, failure: RunFailure) -> None:
        """Report the failure to somebody."""


class NotifierResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Tells of failed runs: logs every one, and posts it as JSON where a webhook is named."""

    webhook: str | None = Field(
        default=None, description=f"Address that failed runs are posted to. Default: ${WEBHOOK_NAME}, else none."
    )
    timeout_s: float = Field(default=10.0, gt=0, le=60, description="Longest wait for the webhook. Default: 10.")

    def notify(self, failure: RunFailure) -> None:
        """See ``Notifier``. A webhook that is not there is a warning, and its address is never logged."""
        _log.error("%s", failure.text)
        address = self.webhook or os.environ.get(WEBHOOK_NAME)
        if not address:
            return
        try:
            _post(address, failure, self.timeout_s)
        except (OSError, ValueError) as error:
            _log.warning(
                "run %s: the webhook at %s was not told: %s", failure.run_id, _host(address), type(error).__name__
            )


def _post(address: str, failure: RunFailure, timeout_s: float) -> None:
    from urllib.request import Request, urlopen

    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError
    body = json.dumps(failure.as_json(), ensure_ascii=False).encode()
    request = Request(address, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310
    with urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
        answer.read(1)


def _host(address: str) -> str:
    """Only the host: path, query and user name of a webhook are its secret."""
    try:
        return urlsplit(address).hostname or "an address without a host"
    except ValueError:
        return "an address that cannot be read"
