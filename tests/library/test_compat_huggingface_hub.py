"""huggingface_hub has what is used of it beyond its documentation."""

import logging

import pytest
from huggingface_hub import constants, errors, get_session

from retune.compat.huggingface_hub import (
    CLIENT_HOOKS,
    ENDPOINT,
    HTTP_LOGGER,
    Client,
    HTTPError,
    XetDownloadError,
)


class RecordingClient(Client):
    """A client that keeps what it is asked to send."""

    def send(self, request, **options):
        self.sent = request
        return super().send(request, **options)


def test_the_client_can_be_made_anew_and_sends_every_request_in_one_place(monkeypatch):
    # The tests of continuous integration are offline to the hub; this is no hub.
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    with RecordingClient(
        event_hooks=CLIENT_HOOKS, follow_redirects=True, timeout=None
    ) as client:
        # Nothing listens on this port.
        with pytest.raises(HTTPError, match="Connection refused"):
            client.get("http://127.0.0.1:9/", timeout=3)
        assert client.sent.extensions["timeout"]["read"] == 3


def test_the_session_is_such_a_client():
    assert isinstance(get_session(), Client)
    assert {"request", "response"} <= set(CLIENT_HOOKS)


def test_errors_of_the_network_and_of_the_hub_have_one_base():
    assert errors.HTTPError is HTTPError
    assert issubclass(errors.HfHubHTTPError, HTTPError)
    assert issubclass(XetDownloadError, Exception)


def test_the_address_and_the_logger_are_known():
    assert ENDPOINT.startswith("http")
    assert HTTP_LOGGER in logging.root.manager.loggerDict
