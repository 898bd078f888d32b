"""Files of a Hugging Face repository at one commit, every byte checked on arrival.

The hub's client compares sizes only and gives up on faults that pass in a moment.
"""

import errno
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Literal, TypeVar

from huggingface_hub import HfApi, RepoFile, constants, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # base of the network errors, whichever HTTP library the client uses
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils import disable_progress_bars

from retune.errors import RetuneError
from retune.progress import progress_bar
from retune.publishing import sha256
from retune.sources.hub_client import (
    BUSY,
    OUTAGE,
    HubAwayError,
    describe_failure,
    patience,
    watch_requests,
)

DELAYS = (1.0, 4.0, 16.0, 60.0)  # seconds before each further try, the last for all
PARALLEL_DOWNLOADS = 8
MAX_DOWNLOADS = 3  # of a file that arrives damaged
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
STEPS = {"dataset": "download", "model": "fetch"}

Result = TypeVar("Result")
log = logging.getLogger(__name__)
# It logs every request, with the signatures of redirected URLs.
logging.getLogger(HTTPError.__module__.split(".")[0]).setLevel(logging.WARNING)
logging.getLogger("huggingface_hub").handlers.clear()  # each line came twice
watch_requests()


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at one commit."""

    kind: Literal["dataset", "model"]
    name: str
    revision: str

    def __str__(self) -> str:
        """Return the name with an abbreviated commit, for people."""
        return f"{self.name} at {self.revision[:8]}"

    def problem(self, key: str, what: str) -> RetuneError:
        """Return the error for one setting of this repository's section."""
        return RetuneError(f"{self.kind}.{key}: {what}")


def list_files(repository: Repository) -> dict[str, RepoFile]:
    """Return the files of the repository by their path, with size and checksum."""

    def request() -> dict[str, RepoFile]:
        entries = HfApi().list_repo_tree(
            repository.name,
            recursive=True,
            revision=repository.revision,
            repo_type=repository.kind,
        )
        return {file.path: file for file in entries if isinstance(file, RepoFile)}

    return with_retries(repository, request)


def bring(repository: Repository, files: Sequence[RepoFile], folder: Path) -> None:
    """Download `files` into `folder` and check every byte.

    Raises:
        RetuneError: If a file cannot be had, or not with the bytes the hub lists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_space(files, folder)
    disable_progress_bars()
    log.info("bringing %d files of %s", len(files), repository)
    pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS)
    try:
        with watched(STEPS[repository.kind], folder, files):
            # The first failure ends the wait; what has not begun is cancelled.
            list(pool.map(partial(bring_file, repository, folder), files))
    finally:
        pool.shutdown(cancel_futures=True)
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def bring_file(repository: Repository, folder: Path, file: RepoFile) -> None:
    """Download one file; if it arrives damaged, fetch it again."""
    request = partial(
        hf_hub_download,
        repository.name,
        file.path,
        repo_type=repository.kind,
        revision=repository.revision,
        local_dir=folder,
    )
    for _ in range(MAX_DOWNLOADS):
        with_retries(repository, request)
        if is_intact(folder, file):
            log.info(
                "  %s: %.1f MB, checksum as on the hub", file.path, file.size / 1e6
            )
            return
        log.warning("%s is damaged: its checksum is not the hub's", file.path)
        (folder / file.path).unlink(missing_ok=True)
    raise repository.problem(
        "name",
        f"{file.path} of {repository} arrived damaged {MAX_DOWNLOADS} times (its"
        " checksum is not the hub's): try later or over another network",
    )


def is_intact(folder: Path, file: RepoFile) -> bool:
    """Return whether a downloaded file has the bytes the hub lists.

    Large files are listed with their SHA-256, the others with git's blob hash.
    """
    path = folder / file.path
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.lfs:
        return sha256(path) == file.lfs.sha256
    header = b"blob %d\0" % file.size
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.sha1(header))
    return digest.hexdigest() == file.blob_id


def check_space(files: Sequence[RepoFile], folder: Path) -> None:
    """Raise unless the disk has room for `files`."""
    needed, free = sum(file.size for file in files), shutil.disk_usage(folder).free
    if needed > free:
        raise RetuneError(
            f"{folder.parent}: {needed / 1e9:.1f} GB to download, but the disk has"
            f" {free / 1e9:.1f} GB free"
        )


@contextmanager
def watched(step: str, folder: Path, files: Sequence[RepoFile]) -> Iterator[None]:
    """Draw a progress bar from the size of what has arrived in `folder`."""
    expected = sum(file.size for file in files)
    before = size_of(folder)
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.5):
            bar.n = min(size_of(folder) - before, expected)
            bar.refresh()

    with progress_bar(step, expected, "B", unit_scale=True) as bar:
        watcher = threading.Thread(target=watch, daemon=True)
        if not bar.disable:
            watcher.start()
        try:
            yield
        finally:
            finished.set()
            if watcher.is_alive():
                watcher.join()


def size_of(folder: Path) -> int:
    """Return the bytes of all files below `folder`, which may be changing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # renamed on completion
            continue
    return total


def with_retries(repository: Repository, request: Callable[[], Result]) -> Result:
    """Return what `request` returns, trying again after faults that may pass.

    Raises:
        RetuneError: At once for what no retry mends, or when the hub was away for
            longer than `RETUNE_HUB_PATIENCE`.
    """
    OUTAGE.step = STEPS[repository.kind]
    vars(OUTAGE.request).clear()
    first_failed = None
    delays = chain(DELAYS, repeat(DELAYS[-1]))
    while True:
        began = time.monotonic()
        try:
            return request()
        except HubAwayError as away:
            raise repository.problem("name", f"{repository.name} {away}") from away
        except RetuneError:
            raise
        except Exception as error:
            if refusal := explain_refusal(repository, error):
                raise refusal from error
            if not may_pass(error):
                raise
            # A file that has arrived for longer than that only stopped now.
            if first_failed is None or time.monotonic() - began > patience():
                first_failed = OUTAGE.request.since = began
            try:
                OUTAGE.wait(first_failed, describe(error), delay := next(delays))
            except HubAwayError as away:
                raise repository.problem("name", f"{repository.name} {away}") from error
            time.sleep(delay)


def explain_refusal(repository: Repository, error: Exception) -> RetuneError | None:
    """Return the error for what no retry mends, None for anything else."""
    name = repository.name
    for cause in causes(error):
        match cause:
            case HubAwayError():
                return repository.problem("name", f"{name} {cause}")
            case HFValidationError():
                return repository.problem(
                    "name", f"{name} is no name of the hub: {cause}"
                )
            case GatedRepoError():
                return repository.problem(
                    "name",
                    f"{name} is gated: accept its terms on its page at"
                    f" {constants.ENDPOINT}, then set HF_TOKEN to your token",
                )
            case RepositoryNotFoundError():
                return repository.problem(
                    "name",
                    f"{name} is not at {constants.ENDPOINT}, or it is private: correct"
                    " the name, or set HF_TOKEN to a token that may read it",
                )
            case RevisionNotFoundError():
                return repository.problem(
                    "revision", f"{repository.revision} is no commit of {name}"
                )
            case OfflineModeIsEnabled():
                given = [key for key in OFFLINE if os.environ.get(key)]
                return repository.problem(
                    "name",
                    f"{name} is on the hub, but {' and '.join(given)} is set: unset it,"
                    f" or name a copy on this machine",
                )
            case HfHubHTTPError() if cause.response.status_code in (401, 403):
                return repository.problem(
                    "name",
                    f"{constants.ENDPOINT} refuses {name} (status"
                    f" {cause.response.status_code}): set HF_TOKEN to a token that may"
                    " read it",
                )
            case HfHubHTTPError() if cause.response.status_code not in BUSY:
                return repository.problem("name", f"{name}: {describe(cause)}")
            case OSError() if cause.errno in DISK_ERRORS:
                return RetuneError(f"{cause.strerror}: {cause.filename or name}")
    return None


def may_pass(error: Exception) -> bool:
    """Return whether the network, the hub or the client's size check failed."""
    return any(
        isinstance(cause, (HTTPError, XetDownloadError, ConnectionError, TimeoutError))
        or (isinstance(cause, OSError) and cause.errno is None)
        for cause in causes(error)
    )


def describe(error: Exception) -> str:
    """Return the root of an error in a few words, without URLs: they may be signed."""
    causes_found = list(causes(error))
    for cause in causes_found:
        if isinstance(cause, HfHubHTTPError):
            return f"the hub answered {cause.response.status_code}"
    network = (HTTPError, ConnectionError, TimeoutError)
    of_network = (cause for cause in causes_found if isinstance(cause, network))
    return describe_failure(next(of_network, causes_found[-1]))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what led to it, the latest first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
