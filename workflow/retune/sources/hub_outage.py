"""How long the hub may be away before a step gives up, and what is said meanwhile."""

import logging
import os
import threading
import time
from urllib.request import getproxies_environment

from retune.compat.huggingface_hub import ENDPOINT
from retune.errors import RetuneError
from retune.terminal.progress import print_line

PATIENCE_VARIABLE = "RETUNE_HUB_PATIENCE"
# Seconds that the hub may be away, unless the variable says otherwise.
PATIENCE = 25.0
# Seconds that the hub's client waits at most before it sends a request again.
LONGEST_PAUSE = 8.0
# Seconds between two lines for the user about one outage.
LEAST_PAUSE = 0.9
PROXY_WANTS_PASSWORD = (
    "could not be had: the proxy wants a user and a password, as in"
    " https_proxy=http://USER:PASSWORD@HOST:PORT"
)

log = logging.getLogger(__name__)


class HubAwayError(RetuneError):
    """The hub cannot be reached at all, or was away for longer than it may be."""


def patience() -> float:
    """Return the seconds that the hub may be away.

    Raises:
        RetuneError: If the variable that the user has set is no number.
    """
    text = os.environ.get(PATIENCE_VARIABLE, "")
    try:
        return float(text) if text else PATIENCE
    except ValueError:
        raise RetuneError(
            f"{PATIENCE_VARIABLE}: {text!r} should be a number of seconds"
        ) from None


class Outage:
    """The time during which no request to the hub has succeeded.

    Several threads send requests. The outage begins with the first request that failed
    since any of them succeeded. For a thread whose own request has failed for longer,
    though other requests succeed, it begins with that request's first failure.
    """

    def __init__(self) -> None:
        """Begin with a hub that answers."""
        self._step = ""
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last_line = 0.0

    def begin_request(self, step: str) -> None:
        """Note that this thread begins another request.

        Args:
            step: Name of the step, for lines about an outage.
        """
        self._step = step
        vars(self._thread).clear()

    def fails_since(self, began: float) -> None:
        """Note since when the request of this thread has failed, `time.monotonic`."""
        self._thread.since = began

    def passed(self) -> None:
        """Note that the hub answered."""
        with self._lock:
            self._since = None

    def failed(self, began: float, reason: str, pause: float | None = None) -> None:
        """Note that a request failed, which the hub's client may send again.

        Args:
            began: Time at which the request was sent, `time.monotonic`.
            reason: Cause of the failure, in a few words.
            pause: Seconds until the client sends it again, if they are known.

        Raises:
            HubAwayError: If the hub will have been away for too long by then.
        """
        with self._lock:
            self._since = began if self._since is None else self._since
            since = min(self._since, getattr(self._thread, "since", self._since))
        self.wait(since, reason, LONGEST_PAUSE if pause is None else pause)

    def wait(self, since: float, reason: str, pause: float) -> None:
        """Say that a request will be sent again.

        Args:
            since: Time at which it failed first, `time.monotonic`.
            reason: Cause of the failure, in a few words.
            pause: Seconds until it is sent again.

        Raises:
            HubAwayError: If the hub will have been away for too long by then.
        """
        now = time.monotonic()
        left = since + patience() - now
        if left < pause:
            raise HubAwayError(outage_message(now - since, reason))
        with self._lock:
            is_news = now - self._last_line >= LEAST_PAUSE
            self._last_line = now if is_news else self._last_line
        if is_news:
            line = f"{reason}: trying again, for {left:.0f} s more"
            print_line(self._step, line)
            log.warning("%s", line)

    def left(self) -> float:
        """Return the seconds for which the hub may still be away."""
        with self._lock:
            if self._since is None:
                return patience()
            return self._since + patience() - time.monotonic()


# The outage of this process, which all its requests share.
OUTAGE = Outage()


def outage_message(seconds: float, reason: str) -> str:
    """Return for how long the hub was away, and what a user can do."""
    network = (
        f"look at the proxy of {proxies()}"
        if proxies()
        else "look at the network, and behind a proxy set https_proxy"
    )
    return (
        f"could not be had from {ENDPOINT} in {seconds:.0f} s: {reason};"
        f" {network}; {PATIENCE_VARIABLE}=600 has it tried for 600 s"
    )


def proxies() -> str:
    """Return the environment variables that name a proxy, without its password."""
    names = getproxies_environment().keys() - {"no"}
    return " and ".join(f"{name}_proxy" for name in sorted(names))


def lasting_failure(error: Exception) -> str | None:
    """Return what a user can do about a failure that sending again does not mend.

    Returns:
        None if the failure may pass.
    """
    text = first_line(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"could not be had from {ENDPOINT}, whose certificate is not"
            " known here: behind a proxy that reads along set SSL_CERT_FILE to the"
            " proxy's certificates"
        )
    if text.startswith("407"):
        return PROXY_WANTS_PASSWORD
    return None


def network_failure(error: BaseException) -> str:
    """Return a failed request in a few words, without URLs: they may be signed."""
    return f"the hub cannot be reached ({type(error).__name__}: {first_line(error)})"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).partition("\n")[0]
