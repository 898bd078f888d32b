"""Files of a repository of the hub, every byte of them checked on arrival.

huggingface_hub compares only sizes when a file arrives by HTTP. Its function
`verify_repo_checksums` requests the list of files again, and reads the files one after
the other once all have arrived. Here each file is checked while others arrive, and is
downloaded again if it is damaged.
"""

import hashlib
import logging
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, RepoFile, hf_hub_download
from huggingface_hub.utils import disable_progress_bars

from retune.artifacts.publishing import sha256
from retune.compat.huggingface_hub import HTTP_LOGGER
from retune.errors import RetuneError
from retune.sources.hub_repository import Repository
from retune.sources.hub_requests import watch_requests
from retune.sources.hub_retries import with_retries
from retune.terminal.progress import progress_bar
from retune.units import GB

PARALLEL_DOWNLOADS = 8
# Number of times that a file is downloaded if it arrives damaged.
MAX_DOWNLOADS = 3

log = logging.getLogger(__name__)
# The HTTP library logs every request, with the signatures of redirected URLs.
logging.getLogger(HTTP_LOGGER).setLevel(logging.WARNING)
# With the handler of huggingface_hub each of its lines would be logged twice.
logging.getLogger("huggingface_hub").handlers.clear()
watch_requests()


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


def download_files(
    repository: Repository, files: Sequence[RepoFile], folder: Path
) -> None:
    """Download files into a folder and check every byte of them.

    Raises:
        RetuneError: If a file cannot be had, or not with the bytes that the hub lists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_space(files, folder)
    disable_progress_bars()
    log.info("bringing %d files of %s", len(files), repository)
    pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS)
    try:
        with progress_of(repository.step, folder, files):
            # The first failure ends the wait; downloads that have not begun are
            # cancelled.
            list(pool.map(partial(download_file, repository, folder), files))
    finally:
        pool.shutdown(cancel_futures=True)
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def download_file(repository: Repository, folder: Path, file: RepoFile) -> None:
    """Download one file, and again if it arrives damaged."""
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
    """Return whether a downloaded file has the bytes that the hub lists.

    The hub lists large files with their SHA-256, others with git's hash of a blob.
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
    """Raise RetuneError unless the disk of a folder has room for the files."""
    needed, free = sum(file.size for file in files), shutil.disk_usage(folder).free
    if needed > free:
        raise RetuneError(
            f"{folder.parent}: {needed / GB:.1f} GB to download, but the disk has"
            f" {free / GB:.1f} GB free"
        )


@contextmanager
def progress_of(step: str, folder: Path, files: Sequence[RepoFile]) -> Iterator[None]:
    """Draw a progress bar from the size of what has arrived in a folder."""
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
    """Return the bytes of all files below a folder, which may be changing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            # The client renames a file when it is complete.
            continue
    return total
