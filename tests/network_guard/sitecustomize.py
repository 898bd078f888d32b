"""Put on PYTHONPATH by a test: Python may then talk to this machine only.

Every try to reach another is written to the file that NETWORK_GUARD_LOG names, and
fails.
"""

import os
import socket

LOCAL = ("127.", "::1", "localhost", "0.0.0.0")

connect = socket.socket.connect
getaddrinfo = socket.getaddrinfo


def refuse(host):
    """Write down who was called, and fail as a missing network does."""
    with open(os.environ["NETWORK_GUARD_LOG"], "a") as log:
        log.write(f"{host}\n")
    raise OSError(f"no network in this test, but {host} was called")


def is_local(host):
    """Return whether a host is this machine."""
    return not host or str(host).startswith((*LOCAL, socket.gethostname()))


def guarded_connect(self, address):
    """Connect, unless to another machine."""
    if isinstance(address, tuple) and not is_local(address[0]):
        refuse(address[0])
    return connect(self, address)


def guarded_getaddrinfo(host, *arguments, **options):
    """Look a name up, unless it is another machine's."""
    name = host.decode() if isinstance(host, bytes) else host
    if not is_local(name):
        refuse(name)
    return getaddrinfo(host, *arguments, **options)


socket.socket.connect = guarded_connect
socket.getaddrinfo = guarded_getaddrinfo
