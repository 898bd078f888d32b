"""Sending a request to the hub again while the hub may be away.

huggingface_hub sends a request again by itself only for some failures: not when the hub
answers a request for a file with 500 or above, nor when a file arrives cut off. It sets
no limit to the time that all attempts take.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import TypeVar

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from retune.compat.huggingface_hub import ENDPOINT, HTTPError, XetDownloadError
from retune.errors import RetuneError
from retune.sources.hub_outage import OUTAGE, HubAwayError, network_failure, patience
from retune.sources.hub_repository import Repository
from retune.sources.hub_requests import BUSY

# Seconds before each further attempt; the last number is for all that follow.
DELAYS = (1.0, 4.0, 16.0, 60.0)
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)

Result = TypeVar("Result")


def with_retries(repository: Repository, request: Callable[[], Result]) -> Result:
    """Return what `request` returns, calling it again after failures that may pass.

    Raises:
        RetuneError: At once for a failure that lasts, or when the hub was away for
            longer than `RETUNE_HUB_PATIENCE`.
    """
    OUTAGE.begin_request(repository.step)
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
            # A request that ran for longer was answered: a file was arriving, and the
            # failure has only begun.
            if first_failed is None or time.monotonic() - began > patience():
                first_failed = began
                OUTAGE.fails_since(began)
            delay = next(delays)
            try:
                OUTAGE.wait(first_failed, reason_of(error), delay)
            except HubAwayError as away:
                raise repository.problem("name", f"{repository.name} {away}") from error
            time.sleep(delay)


def explain_refusal(repository: Repository, error: Exception) -> RetuneError | None:
    """Return the error for a failure that lasts; None for any other failure."""
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
                    f" {ENDPOINT}, then set HF_TOKEN to your token",
                )
            case RepositoryNotFoundError():
                return repository.problem(
                    "name",
                    f"{name} is not at {ENDPOINT}, or it is private: correct"
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
                    f"{ENDPOINT} refuses {name} (status"
                    f" {cause.response.status_code}): set HF_TOKEN to a token that may"
                    " read it",
                )
            case HfHubHTTPError() if cause.response.status_code not in BUSY:
                return repository.problem("name", f"{name}: {reason_of(cause)}")
            case OSError() if cause.errno in DISK_ERRORS:
                return RetuneError(f"{cause.strerror}: {cause.filename or name}")
    return None


def may_pass(error: Exception) -> bool:
    """Return whether the network or the hub failed, or a file arrived cut off.

    For a file of another size than expected the client raises an OSError without errno.
    """
    return any(
        isinstance(cause, (HTTPError, XetDownloadError, ConnectionError, TimeoutError))
        or (isinstance(cause, OSError) and cause.errno is None)
        for cause in causes(error)
    )


def reason_of(error: Exception) -> str:
    """Return the root cause in a few words, without URLs: they may be signed."""
    causes_found = list(causes(error))
    for cause in causes_found:
        if isinstance(cause, HfHubHTTPError):
            return f"the hub answered {cause.response.status_code}"
    network = (HTTPError, ConnectionError, TimeoutError)
    of_network = (cause for cause in causes_found if isinstance(cause, network))
    return network_failure(next(of_network, causes_found[-1]))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it, the latest first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
