"""How long the hub may be away: every request is watched, and no one waits for ever.

The hub's client waits without a bound for some answers, tries again by itself up to six
times, and says so to nobody.
"""

import logging
import os
import threading
import time
from typing import Any
from urllib.request import getproxies_environment

from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.errors import HTTPError

from retune.errors import RetuneError
from retune.progress import tell

PATIENCE_VARIABLE = "RETUNE_HUB_PATIENCE"
PATIENCE = 25.0  # seconds that the hub may be away
LONGEST_ANSWER = 10.0  # seconds without a byte of an answer, after which it failed
LONGEST_PAUSE = 8.0  # seconds that the client waits before it tries again
LEAST_PAUSE = 0.9  # between two lines that say so
BUSY = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses that may pass
PROXY_REFUSES = 407
PROXY_WANTS_PASSWORD = (
    "could not be had: the proxy wants a user and a password, as in"
    " https_proxy=http://USER:PASSWORD@HOST:PORT"
)

log = logging.getLogger(__name__)


class HubAwayError(RetuneError):
    """Nothing can be had from the hub, or not for as long as anybody wants to wait."""


def patience() -> float:
    """Return the seconds that the hub may be away.

    Raises:
        RetuneError: If the user's own number is none.
    """
    text = os.environ.get(PATIENCE_VARIABLE, "")
    try:
        return float(text) if text else PATIENCE
    except ValueError:
        raise RetuneError(
            f"{PATIENCE_VARIABLE}: {text!r} should be a number of seconds"
        ) from None


class Outage:
    """The time for which nothing has come of the hub."""

    def __init__(self) -> None:
        """Begin with a hub that answers."""
        self.step = ""
        self.request = threading.local()  # `since`: when that of this thread failed
        self._lock = threading.Lock()
        self._since: float | None = None
        self._told = 0.0

    def passed(self) -> None:
        """Note that the hub answered."""
        with self._lock:
            self._since = None

    def failed(self, began: float, reason: str, pause: float | None = None) -> None:
        """Note that a request failed.

        Args:
            began: When it was made.
            reason: What is known of the failure.
            pause: Seconds that may go by before the next one, if that is known.

        Raises:
            HubAwayError: If the next one would come too late.
        """
        with self._lock:
            self._since = began if self._since is None else self._since
            since = min(self._since, getattr(self.request, "since", self._since))
        self.wait(since, reason, LONGEST_PAUSE if pause is None else pause)

    def wait(self, since: float, reason: str, pause: float) -> None:
        """Tell that something will be tried again.

        Args:
            since: When it failed first.
            reason: What is known of the failure.
            pause: Seconds that may go by before it is tried again.

        Raises:
            HubAwayError: If that would be too late.
        """
        now = time.monotonic()
        left = since + patience() - now
        if left < pause:
            raise HubAwayError(describe_outage(now - since, reason))
        with self._lock:
            is_news = now - self._told >= LEAST_PAUSE
            self._told = now if is_news else self._told
        if is_news:
            told = f"{reason}: trying again, for {left:.0f} s more"
            tell(self.step, told)
            log.warning("%s", told)

    def left(self) -> float:
        """Return the seconds for which the hub may still be away."""
        with self._lock:
            if self._since is None:
                return patience()
            return self._since + patience() - time.monotonic()


OUTAGE = Outage()


def describe_outage(seconds: float, reason: str) -> str:
    """Return what was tried for how long, and what a user can do."""
    network = (
        f"look at the proxy of {proxies()}"
        if proxies()
        else "look at the network, and behind a proxy set https_proxy"
    )
    return (
        f"could not be had from {constants.ENDPOINT} in {seconds:.0f} s: {reason};"
        f" {network}; {PATIENCE_VARIABLE}=600 has it tried for 600 s"
    )


def proxies() -> str:
    """Return the environment variables that name a proxy, without its password."""
    names = getproxies_environment().keys() - {"no"}
    return " and ".join(f"{name}_proxy" for name in sorted(names))


def explain_for_good(error: Exception) -> str | None:
    """Return what a user can do about a failure that no further try mends."""
    text = str(error).partition("\n")[0]
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"could not be had from {constants.ENDPOINT}, whose certificate is not"
            " known here: behind a proxy that reads along set SSL_CERT_FILE to the"
            " proxy's certificates"
        )
    if text.startswith("407"):
        return PROXY_WANTS_PASSWORD
    return None


def describe_failure(error: Exception) -> str:
    """Return a failed request in a few words, without URLs: they may be signed."""
    text = str(error).partition("\n")[0]
    return f"the hub cannot be reached ({type(error).__name__}: {text})"


class WatchedClient(type(get_session())):  # type: ignore[misc]
    """The HTTP client of the hub's client, whichever library that is of."""

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request; it does not wait for ever, and what comes of it is noted."""
        longest = max(1.0, min(LONGEST_ANSWER, OUTAGE.left()))
        limits = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            kind: min(limits.get(kind) or longest, longest)
            for kind in ("connect", "read", "write", "pool")
        }
        began = time.monotonic()
        try:
            response = super().send(request, **options)
        except HTTPError as error:
            if reason := explain_for_good(error):
                raise HubAwayError(reason) from error
            OUTAGE.failed(began, describe_failure(error))
            raise
        if response.status_code == PROXY_REFUSES:
            raise HubAwayError(PROXY_WANTS_PASSWORD)
        if response.status_code in BUSY:
            pause = response.headers.get("retry-after", "")
            OUTAGE.failed(
                began,
                f"the hub answered {response.status_code}",
                float(pause) if pause.isdigit() else None,
            )
        else:
            OUTAGE.passed()
        return response


HOOKS = get_session().event_hooks


def watch_requests() -> None:
    """Have every request to the hub watched."""
    set_client_factory(
        lambda: WatchedClient(event_hooks=HOOKS, follow_redirects=True, timeout=None)
    )
