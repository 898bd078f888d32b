"""A hub that stays away: what is told while it is tried again, and the last word."""

import json
import subprocess
import sys
import time

import pytest

from loopback_hub import LoopbackHub
from retune.errors import RetuneError
from retune.sources import hub_outage
from retune.sources.hub_outage import HubAwayError, Outage

FOREVER = float("inf")
STEPS = {"download": ("datasets", "dataset.name"), "fetch": ("models", "model.name")}

FILES = {
    "download": {"train.txt": b"one\n"},
    "fetch": dict.fromkeys(
        ("config.json", "model.safetensors", "tokenizer.json"), b"x"
    ),
}


@pytest.fixture
def run(tmp_path, worker):
    """Return a function that runs a step as a user does, against a hub with a fault."""

    def run_step(step, *fault, match="", environment=None, **details):
        kind, _ = STEPS[step]
        with LoopbackHub() as hub:
            commit = hub.add(kind, "team/away", FILES[step])
            if fault:
                hub.fail(*fault, match, FOREVER, **details)
            section = {"source": "hub", "name": "team/away", "revision": commit}
            target = {"download": "--raw", "fetch": "--base"}[step]
            command = [sys.executable, "-m", "retune", step, target, "made"]
            began = time.monotonic()
            ended = subprocess.run(
                [*command, "--settings", json.dumps(section)],
                env={
                    **worker.environment,
                    **hub.environment(str(tmp_path / "home")),
                    **(environment or {}),
                },
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            seconds = time.monotonic() - began
        assert not (tmp_path / "made").exists()
        error = ended.stderr.splitlines()[-1].removeprefix("error: ")
        return error, ended.stdout, ended.stderr, len(hub.requests), seconds

    return run_step


@pytest.mark.parametrize(
    ("step", "match"),
    [("download", "tree"), ("download", "resolve"), ("fetch", "tree")],
)
def test_a_hub_that_stays_away_is_told_where_people_look_and_in_the_log(
    run, step, match
):
    error, shown, logged, _, seconds = run(
        step,
        "status",
        match=match,
        status=502,
        environment={"RETUNE_HUB_PATIENCE": "9"},
    )
    told = "the hub answered 502: trying again, for 9 s more"
    assert f"  {step:<12} {told}\n" in shown
    assert told in logged
    assert error.startswith(f"{STEPS[step][1]}: team/away could not be had from http:")
    assert "the hub answered 502; " in error
    assert seconds < 30


@pytest.mark.parametrize("match", ["tree", "resolve"])
def test_a_hub_that_says_nothing_is_not_waited_for(run, match):
    error, _, _, _, seconds = run(
        "download",
        "hang",
        match=match,
        environment={
            "RETUNE_HUB_PATIENCE": "9",
            "HF_HUB_DOWNLOAD_TIMEOUT": "100",
            "HF_HUB_ETAG_TIMEOUT": "100",
        },
    )
    assert "could not be had from http://127.0.0.1" in error
    assert seconds < 30


def test_a_hub_that_refuses_every_connection_is_named_with_the_reason(run):
    error, shown, _, _, seconds = run(
        "download",
        environment={
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "RETUNE_HUB_PATIENCE": "9",
        },
    )
    assert "the hub cannot be reached (ConnectError: [Errno 111] Connection" in error
    assert "trying again, for 9 s more" in shown
    assert seconds < 30


@pytest.mark.parametrize(
    ("step", "status"), [("download", 404), ("download", 410), ("fetch", 401)]
)
def test_what_is_final_is_not_tried_again(run, step, status):
    error, shown, _, requests, _ = run(step, "status", status=status)
    assert error.startswith(f"{STEPS[step][1]}: ")
    assert shown == ""
    assert requests == 1


def test_a_proxy_that_wants_a_password_is_told_how(run):
    error, *_ = run("download", "status", status=407)
    assert error == (
        "dataset.name: team/away could not be had: the proxy wants a user and a"
        " password, as in https_proxy=http://USER:PASSWORD@HOST:PORT"
    )


def test_a_proxy_that_is_away_is_named_without_its_password(run):
    error, *_ = run(
        "download",
        environment={
            "http_proxy": "http://me:secret@127.0.0.1:9",
            "NO_PROXY": "",
            "RETUNE_HUB_PATIENCE": "0",
        },
    )
    assert "look at the proxy of http_proxy; " in error
    assert "secret" not in error


@pytest.mark.parametrize(
    ("step", "name"),
    [("download", "TRANSFORMERS_OFFLINE"), ("fetch", "HF_HUB_OFFLINE")],
)
def test_a_variable_that_forbids_the_hub_is_named(run, step, name):
    error, shown, _, requests, _ = run(step, environment={name: "1"})
    assert error == (
        f"{STEPS[step][1]}: team/away is on the hub, but {name} is set: unset it, or"
        " name a copy on this machine"
    )
    assert (shown, requests) == ("", 0)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0
        self.told = []

    def read(self):
        return self.now

    def tell(self, step, text):
        self.told.append(text)


@pytest.fixture
def clock(monkeypatch):
    """A clock in place of the machine's, which also notes what is told."""
    clock = Clock()
    monkeypatch.setattr(hub_outage.time, "monotonic", clock.read)
    monkeypatch.setattr(hub_outage, "print_line", clock.tell)
    monkeypatch.delenv(hub_outage.PATIENCE_VARIABLE, raising=False)
    return clock


def fail_until_the_end(outage, clock, seconds, pauses):
    """Fail again and again; return the last word and when it came."""
    began = clock.now
    for pause in pauses:
        at = clock.now
        clock.now += seconds
        try:
            outage.failed(at, "the hub answered 502")
        except HubAwayError as word:
            return str(word), clock.now - began
        clock.now += pause
    raise AssertionError("it had no last word")


@pytest.mark.parametrize("seconds", [0, 1, 5, 10])
def test_the_last_word_comes_within_half_a_minute(clock, seconds):
    pauses = [1, 2, 4, *[8] * 9]
    _, took = fail_until_the_end(Outage(), clock, seconds, pauses)
    assert 15 < took < 30
    assert len(clock.told) >= 1


@pytest.mark.parametrize("patience", ["100", "3600"])
def test_with_more_patience_it_comes_later(clock, monkeypatch, patience):
    monkeypatch.setenv(hub_outage.PATIENCE_VARIABLE, patience)
    word, took = fail_until_the_end(Outage(), clock, 1, [8] * 1000)
    assert abs(took - float(patience)) < 20
    assert f" in {took:.0f} s: the hub answered 502; " in word


@pytest.mark.parametrize("patience", ["soon", "1 h", "10s"])
def test_patience_that_is_no_number_is_an_error(monkeypatch, patience):
    monkeypatch.setenv(hub_outage.PATIENCE_VARIABLE, patience)
    with pytest.raises(RetuneError, match=f"'{patience}' should be a number"):
        Outage().failed(0, "the hub answered 502")


def test_an_answer_ends_an_outage(clock):
    outage = Outage()
    for _ in range(20):
        outage.failed(clock.now, "the hub answered 502")
        clock.now += 5
        outage.passed()
    assert {text.partition("for ")[2] for text in clock.told} == {"25 s more"}


def test_what_many_requests_run_into_is_told_once(clock):
    outage = Outage()
    for _ in range(8):
        outage.failed(clock.now, "the hub answered 502")
    assert clock.told == ["the hub answered 502: trying again, for 25 s more"]


def test_a_hub_that_asks_for_more_time_than_there_is_gets_the_last_word(clock):
    with pytest.raises(HubAwayError, match="the hub answered 429"):
        Outage().failed(clock.now, "the hub answered 429", pause=120)
    assert clock.told == []


def test_a_certificate_that_is_not_known_is_not_tried_again():
    error = OSError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get issuer")
    assert "set SSL_CERT_FILE" in hub_outage.lasting_failure(error)
    assert hub_outage.lasting_failure(OSError("timed out")) is None
