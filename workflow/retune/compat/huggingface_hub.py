"""What is used of huggingface_hub that its documentation does not promise.

Uses the HTTP library that the client has chosen, the hooks of its session and the
address of the hub. Without them nothing can be downloaded from the hub; local files and
what is built in can still be used.
"""

from huggingface_hub import constants, get_session
from huggingface_hub.errors import XetDownloadError
from huggingface_hub.utils._http import httpx2

__all__ = [
    "CLIENT_HOOKS",
    "ENDPOINT",
    "HTTP_LOGGER",
    "Client",
    "HTTPError",
    "Request",
    "Response",
    "XetDownloadError",
]

# The HTTP library is huggingface_hub's own choice, so it is taken from there.
Client = httpx2.Client
HTTPError = httpx2.HTTPError
Request = httpx2.Request
Response = httpx2.Response
# Name of the logger of the HTTP library.
HTTP_LOGGER = httpx2.__name__

# Address of the hub, which HF_ENDPOINT sets.
ENDPOINT = constants.ENDPOINT
# Functions that huggingface_hub has called for each request and each answer.
CLIENT_HOOKS = get_session().event_hooks
