"""The HTTP client for the hub, which bounds how long the hub may be away.

huggingface_hub waits without a bound for some answers, sends a request again up to five
times by itself, and logs that where no user sees it.
"""

import time
from typing import Any

from huggingface_hub import set_client_factory

from retune.compat.huggingface_hub import (
    CLIENT_HOOKS,
    Client,
    HTTPError,
    Request,
    Response,
)
from retune.sources.hub_outage import (
    OUTAGE,
    PROXY_WANTS_PASSWORD,
    HubAwayError,
    lasting_failure,
    network_failure,
)

# Seconds without a byte of an answer after which a request has failed.
LONGEST_ANSWER = 10.0
# HTTP statuses of a hub that may answer later.
BUSY = (408, 425, 429, 500, 502, 503, 504)
PROXY_REFUSES = 407


class WatchedClient(Client):
    """A client that does not wait for ever, and notes whether the hub answers."""

    def send(self, request: Request, **options: Any) -> Response:
        """Send a request and return the answer.

        Raises:
            HubAwayError: If the hub has been away for too long.
        """
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
            if reason := lasting_failure(error):
                raise HubAwayError(reason) from error
            OUTAGE.failed(began, network_failure(error))
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


def watch_requests() -> None:
    """Have huggingface_hub send every request by a `WatchedClient`."""
    set_client_factory(
        lambda: WatchedClient(
            event_hooks=CLIENT_HOOKS, follow_redirects=True, timeout=None
        )
    )
