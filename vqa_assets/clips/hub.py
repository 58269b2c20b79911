"""Datasets of the Hugging Face Hub as a source of clips: which files one holds at a revision, and their addresses.

A file is fetched like any other address (``libcurl``, ``curl``). Which one is a row's clip is not here (``ingest``).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from vqa_assets.clips.downloading import TokenSite, address_of, one_line
from vqa_assets.errors import DownloadError, SettingsError
from vqa_assets.printing import without_logins

ENDPOINT = "https://huggingface.co"
_TOKEN = re.compile(r"[!-~]*")
"""What a header may hold; a line break would begin another one."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubAccess:
    """Where the Hub is, and the token by which it knows whoever asks; the token is shown nowhere."""

    endpoint: str = ENDPOINT
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "HubAccess":
        """What ``$HF_ENDPOINT`` and ``$HF_TOKEN`` say; SettingsError where they cannot be used."""
        endpoint, token = environment.get("HF_ENDPOINT") or ENDPOINT, environment.get("HF_TOKEN", "").strip()
        try:
            address = address_of(endpoint)
        except DownloadError as error:
            raise SettingsError(
                "$HF_ENDPOINT",
                found=repr(without_logins(endpoint)),
                expected=f"an address such as {ENDPOINT}",
                next_step="correct it",
            ) from error
        if not _TOKEN.fullmatch(token):
            raise SettingsError(
                "$HF_TOKEN",
                found="characters that no token has",
                expected="a token as the Hub shows it",
                next_step="copy it again",
            )
        return cls(address.url.rstrip("/"), token)

    @property
    def host(self) -> str:
        """The Hub's name, as messages say it."""
        return self.endpoint.partition("://")[2]

    def token_site(self) -> TokenSite:
        """The Hub as a site for the downloader."""
        have = "which has no access to it" if self.token else "which is not set"
        advice = f"accept the licence of the dataset on {self.host}, and give a token of yours in HF_TOKEN, {have}"
        return TokenSite(self.endpoint, self.token, if_refused=advice)


@dataclass(frozen=True)
class HubDataset:
    """One dataset at one commit: ``revision`` is what was asked for (empty: its main branch), ``names`` its files."""

    repository: str
    revision: str
    commit: str
    names: tuple[str, ...]
    endpoint: str = ENDPOINT

    def address_of(self, name: str) -> str:
        """The address of one of its files."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repository, name, repo_type="dataset", revision=self.commit, endpoint=self.endpoint)


def repository_and_revision(source: str) -> tuple[str, str]:
    """``owner/name@revision`` as (``owner/name``, ``revision``); the latter is empty where none is said."""
    repository, _, revision = source.partition("@")
    return repository, revision


def open_dataset(source: str, access: HubAccess, commit: str = "") -> HubDataset:
    """The dataset ``owner/name@revision``: its commit, and all its files.

    ``commit`` is what an earlier run took the revision for: branches move, and a corpus should not be of two of them.
    DownloadError where the Hub does not give it; its reason says what to do.
    """
    from huggingface_hub import HfApi, constants

    # Nothing but the dataset is asked for, and nothing is told of who asks and on what machine.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    repository, revision = repository_and_revision(source)
    api = HfApi(endpoint=access.endpoint, token=access.token or False)
    with _refusals_in_words(source, access):
        info = api.dataset_info(repository, revision=commit or revision or None, expand=["sha", "gated"])
        if info.gated:  # its files are listed to everybody, and given to those who accepted its licence
            api.auth_check(repository, repo_type="dataset")
        at = info.sha or ""
        if not _COMMIT.fullmatch(at):
            raise ValueError(f"a dataset without a commit: {at!r}")
        names = api.list_repo_files(repository, repo_type="dataset", revision=at)
    return HubDataset(repository, revision, at, tuple(sorted(names)), access.endpoint)


@contextmanager
def _refusals_in_words(source: str, access: HubAccess) -> Iterator[None]:
    """Whatever the library raises as a DownloadError, without addresses and free text of the server.

    There is no colon in a reason: what stands before the first is what a summary shows.
    """
    from httpx2 import HTTPError  # the library's own client lets its errors through where no server answers
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    repository, revision = repository_and_revision(source)
    token = "HF_TOKEN is set, and has no access" if access.token else "HF_TOKEN is not set"
    try:
        yield
    except RevisionNotFoundError as error:
        reason = f"{repository} has no revision {revision or 'main'} on the Hugging Face Hub, correct hf"
        raise DownloadError(reason, permanent=False) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if isinstance(error, GatedRepoError) or status == 403:
            reason = f"{repository} on the Hugging Face Hub is gated ({token}), accept its licence there and give a "
            reason += "token of yours in HF_TOKEN"
        elif isinstance(error, RepositoryNotFoundError) or status in (401, 404):
            reason = f"{repository} on the Hugging Face Hub is not there, or private ({token}), correct hf, or give a "
            reason += "token that may read it"
        else:
            reason = f"the Hugging Face Hub answered {status} for {repository}"
        raise DownloadError(reason, permanent=False) from error
    except (HTTPError, OSError) as error:
        reason = f"the Hugging Face Hub cannot be reached ({one_line(type(error).__name__)})"
        raise DownloadError(reason, permanent=False, unreachable=True) from error
    except (ValueError, KeyError, TypeError) as error:  # a proxy's page, or a server that is no Hub
        reason = f"{access.host} does not answer as the Hugging Face Hub does"
        raise DownloadError(reason, permanent=False) from error
