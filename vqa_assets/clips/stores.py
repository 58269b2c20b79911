"""Object stores (``s3://``, ``gs://``, ``az://``) by the library obstore: objects are listed, brought here, put there.

What a clip's object is called is in ``folders``, where it lies while it is read in ``scratch``. Credentials are found
by the library, and by boto3 where it is there, in the environment of the process; the library's own words may hold
them, and never get into an error or a log.
"""

import asyncio
import errno
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from vqa_assets.clips.folders import FileStamp, stamp_of_object
from vqa_assets.clips.hashing import HASH_CHUNK_BYTES, ClipBytes
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import ObjectStoreError, TransientClipError

MOST_AT_ONCE_BYTES = 64 << 20
"""What is put by one request, which leaves nothing behind where it is cut short. The parts of a larger object stay in
the store after a kill, paid for and unseen, and the library lists none: a lifecycle rule has to remove them."""
PART_BYTES = 16 << 20
CONNECT_S, SILENT_S, LONGEST_S = 10, 30, 3600
RETRIES, RETRY_FOR_S = 5, 120.0
"""How often, and for how long, the library repeats a request that the store answers by 5xx or not at all."""
GIVEN_UP_AFTER = 8
"""So many objects in a row without an answer, and the store is given up."""
_PUTS_AT_ONCE = 4
"""Each holds its object in memory."""
_LISTED_AT_ONCE = 1_000
"""A page: with more of them a first answer would take as long as they all."""
FIRST_ANSWER_S = 15
"""Until the store has answered once, nobody waits longer for it: something else may listen there, and say nothing."""
_LOOK_AROUND_S = 0.2
_STATUS, _CODE = re.compile(r"status code: (\d{3})"), re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_PATH = re.compile(r'Path ("[^\n]*?")(?: contained|: |$)', re.MULTILINE)
_WRONG_REGION = "Received redirect without LOCATION"
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_REFUSALS = ("ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed")
"""Codes about credentials that come with another status than 401 and 403."""
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_ENDPOINT = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,4}|:[1-5]\d{4}|:6[0-5]\d{3})?(/[^\s?#]*)?")
_MACHINES_OWN = "169.254.169.254"
"""Where a cloud tells its machines their role: asked for want of variables."""
_MACHINE_ANSWERS_S = 2.0
_NAMES_OF_CREDENTIALS = {
    "s3": re.compile("^AWS_.*(KEY|TOKEN|CREDENTIALS_(RELATIVE|FULL)_URI|SKIP_SIGNATURE)"),
    "gs": re.compile("^GOOGLE_.*(KEY|CREDENTIALS|SERVICE_ACCOUNT|TOKEN|SKIP_SIGNATURE)"),
    "az": re.compile("^(AZURE_.*(KEY|SAS|TOKEN|CLIENT|CLI|SKIP_SIGNATURE)|(IDENTITY|MSI)_ENDPOINT$)"),
}
"""The variables of which the library takes credentials, by the scheme of an address."""
_ALLOWING = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a listing: its name below the store's address, and its stamp."""

    name: str
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class BroughtObject:
    """An object whose bytes were written into a file here: what they are, and the stamp of the object they are of."""

    content: ClipBytes
    stamp: FileStamp


class OpenStore:
    """One address of an object store, opened; its methods are called from many threads at once.

    Every one raises ObjectStoreError where the store has no such bucket, gives no right, or is given up.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        provider = _provider(os.environ) if url.startswith("s3://") else None
        self._reading, self._writing = _library_store(url, SILENT_S, provider), _library_store(url, None, provider)
        if provider is None:
            _check_credentials(url, os.environ)
        self._puts = threading.Semaphore(_PUTS_AT_ONCE)
        self._unanswered, self._answered = 0, False

    def listed(self) -> Iterator[ListedObject]:
        """Every object below the address, by as many requests as the listing has pages; one more of an empty one."""
        import obstore

        stream, is_empty = obstore.list(self._reading, chunk_size=_LISTED_AT_ONCE), True
        while batch := self._ask(lambda: _next(stream), "its objects cannot be listed"):
            is_empty = False
            for meta in batch:
                if name := str(meta["path"]):  # the folder itself, as some tools mark it
                    yield ListedObject(name, _stamp(meta))
        # Any page of a web server reads as a listing of nothing; it has every name, too.
        if is_empty and self.holds(f"{uuid4().hex}.none"):
            raise ObjectStoreError(
                f"{self.url}: its objects cannot be listed",
                found="a server that has an object of any name",
                expected="an object store",
                next_step="correct its address in the environment (docs/object-stores.md)",
            )

    def holds(self, name: str) -> bool:
        """Whether there is an object of that name."""
        import obstore

        try:
            self._ask(lambda: obstore.head_async(self._reading, name), f"{name} cannot be looked at")
        except FileNotFoundError:
            return False
        return True

    def stamp(self, name: str, stop: threading.Event) -> FileStamp:
        """The stamp of one object, by one request; for a few of a store that holds many, else by ``listed``.

        FileNotFoundError where there is none, TransientClipError without an answer, StoppedError soon after ``stop``.
        """
        import obstore

        what = f"{name} cannot be looked at"
        return _stamp(self._ask(lambda: obstore.head_async(self._reading, name), what, stop, of_object=True))

    def bring(self, name: str, place: Path, stop: threading.Event) -> BroughtObject:
        """Write an object's bytes into a file: one state of it, whatever is put in its place meanwhile.

        FileNotFoundError where there is none, OSError where the file cannot be written, TransientClipError where the
        store does not give all of it this time, StoppedError soon after ``stop`` is set. A file that is cut short may
        be left.
        """
        import obstore

        what = f"{name} cannot be read"
        result = self._ask(lambda: obstore.get_async(self._reading, name), what, stop, of_object=True)
        meta, digest, size = result.meta, hashlib.sha256(), 0
        stream = result.stream(min_chunk_size=4 * HASH_CHUNK_BYTES)
        with place.open("wb") as file:
            while chunk := self._ask(lambda: _next(stream), what, stop, of_object=True):
                # Hashed here, not where all threads' transfers run: hashing is as slow as a fast network.
                window = memoryview(chunk)
                digest.update(window)
                file.write(window)
                size += len(window)
        if size != meta["size"]:
            raise TransientClipError(f"{self.url}/{name}: cut after {size} of {meta['size']} bytes")
        return BroughtObject(ClipBytes(digest.hexdigest(), size), _stamp(meta))

    def read(self, name: str) -> bytes | None:
        """A small object's bytes; None where there is none."""
        import obstore

        async def content() -> bytes:
            result = await obstore.get_async(self._reading, name)
            return bytes(await result.bytes_async())

        try:
            found: bytes = self._ask(content, f"{name} cannot be read")
        except FileNotFoundError:
            return None
        return found

    def put(self, name: str, file: Path, stop: threading.Event, *, replace: bool = False) -> FileStamp | None:
        """Make the file's bytes an object, all at once or not at all: its stamp.

        None where an object of that name is there, which is left as it is unless ``replace``. A file above
        ``MOST_AT_ONCE_BYTES``, which goes in parts, replaces in any case.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotSupportedError

        size, what = file.stat().st_size, f"{name} cannot be put there"

        def request(mode: Any) -> Callable[[], Any]:
            parts = size > MOST_AT_ONCE_BYTES
            return lambda: obstore.put_async(
                self._writing, name, file, use_multipart=parts, chunk_size=PART_BYTES, max_concurrency=2, mode=mode
            )

        with self._puts:
            try:
                put = self._ask(request(None if replace or size > MOST_AT_ONCE_BYTES else "create"), what, stop)
            except AlreadyExistsError:
                return None
            except NotSupportedError:  # a store that knows no conditions
                put = self._ask(request(None), what, stop)
        return stamp_of_object(size, str(put["e_tag"] or ""))

    def _ask(
        self,
        request: Callable[[], Any],
        what: str,
        stop: threading.Event | None = None,
        *,
        of_object: bool = False,
    ) -> Any:
        """The answer to one request, which is given up soon after ``stop`` is set.

        FileNotFoundError where the object is not there; AlreadyExistsError and NotSupportedError of the library. With
        ``of_object`` a request without an answer is a TransientClipError, until there were ``GIVEN_UP_AFTER`` of them.
        """
        from obstore.exceptions import BaseError

        is_put = stop is not None and not of_object  # it takes as long as its bytes do
        try:
            answer = _wait(request, stop, None if self._answered or is_put else FIRST_ANSWER_S)
        except (BaseError, ValueError, OSError) as error:
            failure = self._failure(error, what)
            if not isinstance(failure, TransientClipError):
                self._answered = True
                raise failure from None  # the library's words may hold an access key
            self._unanswered += 1
            if of_object and self._unanswered < GIVEN_UP_AFTER:
                raise failure from None
            raise ObjectStoreError(
                f"{self.url}: {what}",
                found=failure.found,
                expected="an answer",
                next_step="see whether the store can be reached from here, then run again: finished clips are kept",
            ) from None
        except Exception as error:
            if type(error).__name__ != "RustPanic":
                raise
            raise _not_opened(self.url, error) from None
        self._unanswered, self._answered = 0, True
        return answer

    def _failure(self, error: Exception, what: str) -> Exception:
        """The error in our words: the store's (ObjectStoreError), the object's (itself), or a request's that failed."""
        from obstore.exceptions import (
            AlreadyExistsError,
            InvalidPathError,
            NotSupportedError,
            PermissionDeniedError,
            UnauthenticatedError,
        )

        text = str(error)
        status, code = _STATUS.search(text), _CODE.search(text)
        answer = " ".join(found[1] for found in (status, code) if found) or _kind(text)
        if isinstance(error, InvalidPathError):
            return ObjectStoreError(
                f"{self.url}: an object that cannot be asked for",
                found=f"the key {named[1]}" if (named := _PATH.search(text)) else "a key that is no name",
                expected="keys that are names: no empty part, no . or .., no control characters",
                next_step="rename or remove that object, or keep the clips below a prefix of their own",
            )
        if any(words in text for words in _NO_BUCKET) or _WRONG_REGION in text:
            return self._no_bucket(text, answer)
        if isinstance(error, FileNotFoundError):  # without a number as the library makes it, and in its words
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if isinstance(error, (AlreadyExistsError, NotSupportedError)):  # for ``put``
            return error
        refused = isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or (code and code[1] in _REFUSALS)
        if refused or _MACHINES_OWN in text or (status and status[1] in ("401", "403")):
            return ObjectStoreError(
                f"{self.url}: {what}",
                found="no credentials" if _MACHINES_OWN in text else answer,
                expected="rights to list, read and write there",
                next_step="give the process credentials that have them, by its environment (docs/object-stores.md)",
            )
        return TransientClipError(f"{self.url}: {what}", found=answer)

    def _no_bucket(self, text: str, answer: str) -> ObjectStoreError:
        """Where the bucket is not, by the library's words."""
        if _WRONG_REGION in text:
            return ObjectStoreError(
                f"{self.url}: the bucket is in another region",
                found=f"AWS_REGION {os.environ.get('AWS_REGION') or 'not set'}",
                expected="the bucket's own region",
                next_step="set AWS_REGION in the environment (docs/object-stores.md)",
            )
        return ObjectStoreError(
            f"{self.url}: there is no such bucket",
            found=answer,
            expected="a bucket that somebody made: none is made here",
            next_step="make it, or correct clips_url",
        )


def open_store(url: str) -> OpenStore:
    """The store at an address, which every process opens once; ObjectStoreError where it cannot be."""
    key = (os.getpid(), url)
    with _opening:
        if key not in _opened:
            _opened[key] = OpenStore(url)
        return _opened[key]


_opened: dict[tuple[int, str], OpenStore] = {}
_opening = threading.Lock()


def _check_credentials(url: str, environment: Mapping[str, str]) -> None:
    """ObjectStoreError where nothing names credentials, and this machine has no role that would give some.

    The library asks the machine's own service for them, and repeats that for a minute where nobody answers.
    """
    named = _NAMES_OF_CREDENTIALS[url.partition(":")[0]]
    login = Path.home() / ".config" / "gcloud" / "application_default_credentials.json"
    if any(named.search(name) and value for name, value in environment.items()):
        return
    if url.startswith("gs:") and login.is_file():
        return
    own = environment.get("AWS_METADATA_ENDPOINT") or f"http://{_MACHINES_OWN}"
    address = urlsplit(own)
    service = HTTPConnection(address.hostname or _MACHINES_OWN, address.port, timeout=_MACHINE_ANSWERS_S)
    try:
        service.request("GET", "/")
        service.getresponse()  # whatever it says: it is there, and the library asks it in its own way
    except (OSError, HTTPException):
        raise ObjectStoreError(
            f"{url}",
            found=f"no credentials in the environment, and no role of this machine ({own} does not answer)",
            expected="rights to list, read and write there",
            next_step="set the store's variables, of a public bucket AWS_SKIP_SIGNATURE=true (docs/object-stores.md)",
        ) from None
    finally:
        service.close()


def _library_store(url: str, silent_s: int | None, provider: Any) -> Any:
    """The library's store; one for reading gives a server that falls silent up, one for writing waits for its end."""
    try:
        from obstore.store import from_url
    except ImportError:
        raise ObjectStoreError(
            f"{url}",
            found="no library for object stores",
            expected="obstore",
            next_step='install it: pip install "vqa-assets[objects]"',
        ) from None
    for name in (*_ENDPOINTS.get(url.partition("://")[0], ()), "AWS_METADATA_ENDPOINT"):
        if (endpoint := os.environ.get(name)) and not _ENDPOINT.fullmatch(endpoint):
            raise ObjectStoreError(
                f"${name}",
                found="no address of a server",  # what stands there may hold credentials
                expected="http:// or https://, a host, and perhaps a port and a path",
                next_step="correct it in the environment (docs/object-stores.md)",
            )
    options: dict[str, Any] = {"connect_timeout": f"{CONNECT_S}s", "timeout": f"{LONGEST_S}s"}
    if silent_s is not None:
        options["read_timeout"] = f"{silent_s}s"
    if _allows_http(os.environ):
        options["allow_http"] = True
    try:
        make: Any = from_url  # its types tell each kind of store's arguments apart
        retries = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_FOR_S)}
        more = {"credential_provider": provider} if provider else {}
        return make(url, client_options=options, retry_config=retries, **more)
    except Exception as error:  # whatever the library does not like about the environment, in words it may not say
        raise _not_opened(url, error) from None


def _not_opened(url: str, error: Exception) -> ObjectStoreError:
    return ObjectStoreError(
        f"{url}",
        found=f"a {type(error).__name__} of the library that opens it",
        expected="a store, and an environment that says how to reach it",
        next_step="see docs/object-stores.md for the variables",
    )


def _allows_http(environment: Mapping[str, str]) -> bool:
    """Whether whoever started the process named a store without TLS, or allows one."""
    named = any(environment.get(name, "").startswith("http://") for names in _ENDPOINTS.values() for name in names)
    return named or any(environment.get(name, "").lower() in ("1", "true", "yes") for name in _ALLOWING)


def _provider(environment: Mapping[str, str]) -> Any:
    """boto3's credentials, for a profile or SSO; None where the variables suffice, or there is no boto3."""
    if environment.get("AWS_ACCESS_KEY_ID") or environment.get("AWS_SKIP_SIGNATURE"):
        return None
    files = [environment.get("AWS_CONFIG_FILE") or "~/.aws/config"]
    files.append(environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")
    # Without either boto3 would only ask the machine's own service, which the library does without it.
    has_files = any(os.path.isfile(os.path.expanduser(name)) for name in files)  # noqa: PTH111, PTH113
    if not (environment.get("AWS_PROFILE") or has_files) or find_spec("boto3") is None:
        return None
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(Session())
    except (BotoCoreError, ValueError) as error:  # a profile that does not exist; a file without credentials
        if not environment.get("AWS_PROFILE"):
            return None
        raise ObjectStoreError(
            "$AWS_PROFILE",
            found=f"no credentials by it ({type(error).__name__})",
            expected="a profile of ~/.aws",
            next_step="correct it, or log in (aws sso login)",
        ) from None


def _stamp(meta: Mapping[str, Any]) -> FileStamp:
    # A store without ETags has times.
    return stamp_of_object(int(meta["size"]), str(meta["e_tag"] or meta["last_modified"]))


_KINDS = {
    **{words: words for words in ("timed out", "connection refused", "connection reset", "dns error")},
    **dict.fromkeys(("parse(", "unexpectedmessage"), "an answer that is not HTTP's"),
    "invalid list response": "an answer that is no listing",
    "header missing from response": "an answer that is no object store's",
    **dict.fromkeys(("corrupt message", "invalidcontenttype"), "an answer that is not TLS's"),
    **{words: words for words in ("connection closed", "incomplete")},
}
"""What is looked for in the library's words, and what is said of it."""


def _kind(text: str) -> str:
    """What a request without a status came to, of the words that the library has for it."""
    lowered = text.lower()
    return next((ours for words, ours in _KINDS.items() if words in lowered), "no answer")


async def _next(stream: Any) -> Any:
    """The next chunk of a stream of the library; None at its end."""
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return None


class _Loop(threading.Thread):
    """The thread that this process's transfers run in: whoever waits for one may stop waiting, a call may not."""

    def __init__(self) -> None:
        super().__init__(name="object store", daemon=True)
        self.loop = asyncio.new_event_loop()

    def run(self) -> None:
        self.loop.run_forever()


_loops: dict[int, _Loop] = {}
_starting = threading.Lock()


def _wait(request: Callable[[], Any], stop: threading.Event | None, within_s: float | None) -> Any:
    """The result of an awaitable that ``request`` begins; StoppedError soon after ``stop`` is set.

    TimeoutError where it does not come ``within_s``; None waits for as long as the library does.
    """
    until = None if within_s is None else time.monotonic() + within_s
    with _starting:
        driver = _loops.get(os.getpid())  # a forked process has its parent's, which does not run there
        if driver is None:
            driver = _loops[os.getpid()] = _Loop()
            driver.start()

    async def begun() -> Any:
        return await request()

    work: Coroutine[Any, Any, Any] = begun()
    future = asyncio.run_coroutine_threadsafe(work, driver.loop)
    try:
        while not futures.wait([future], _LOOK_AROUND_S).done:
            if stop is not None and stop.is_set():
                raise StoppedError
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"timed out after {within_s:.0f} s")
        return future.result()
    finally:
        future.cancel()
