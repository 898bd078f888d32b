"""Whether what is printed may have colours."""

import os
from collections.abc import Mapping
from typing import TextIO


def has_colours(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream shows colours: it is a terminal that can.

    NO_COLOR and FORCE_COLOR decide it if they are set and not empty, as
    https://no-color.org and https://force-color.org say.
    """
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environment.get("TERM") != "dumb"
