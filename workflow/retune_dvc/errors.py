"""What keeps DVC or Snakemake from being asked."""

from retune.errors import RetuneError


class UnknownStateError(RetuneError):
    """DVC's state or Snakemake's cannot be known; the message says why."""
