"""Put on PYTHONPATH by a test: Python then finds some packages no more.

NOT_INSTALLED lists their top-level modules. Whoever asks for one is told what a machine
says that does not have it.
"""

import os
import sys
from importlib.machinery import PathFinder

NOT_INSTALLED = frozenset(os.environ["NOT_INSTALLED"].split())


class Finder:
    """Finds on the path what is not hidden."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return where a module is; None if it is nowhere, or hidden."""
        if name.partition(".")[0] in NOT_INSTALLED:
            return None
        return PathFinder.find_spec(name, path, target)

    find_distributions = PathFinder.find_distributions
    invalidate_caches = PathFinder.invalidate_caches


sys.meta_path[:] = [Finder if one is PathFinder else one for one in sys.meta_path]
