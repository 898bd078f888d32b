"""Snakemake's own way to show a run, the private name that this plugin uses."""

import logging


def plain_log_handler(nocolor: bool) -> logging.Handler:
    """Return the handler that shows a run in Snakemake's own way.

    Uses `snakemake.logging.ColorizingTextHandler`. Without it a run with `--verbose`
    or `--printshellcmds` is shown without colours.
    """
    try:
        from snakemake.logging import ColorizingTextHandler

        handler: logging.Handler = ColorizingTextHandler(nocolor=nocolor)
    except (ImportError, TypeError):
        return logging.StreamHandler()
    return handler
