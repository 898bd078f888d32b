"""Which version of liger-kernel is installed, and whether it is one that is wanted."""

import re
from importlib.metadata import PackageNotFoundError, version

# The releases of the extra `kernels` in pyproject.toml: what was seen of the kernels
# was seen with the oldest, and the next minor release may compute otherwise.
OLDEST = (0, 8, 5)
BEFORE = (0, 9)
WANTED = f">={'.'.join(map(str, OLDEST))},<{'.'.join(map(str, BEFORE))}"
INSTALL = "pip install 'retune[kernels]'"


def installed_liger_version() -> str | None:
    """Return the version of the distribution liger-kernel; None: it is not installed.

    A checkout on the path, or liger-kernel-nightly, is none: the identity of a training
    could not say which code computed it.
    """
    try:
        return version("liger-kernel")
    except PackageNotFoundError:
        return None


def is_wanted(found: str) -> bool:
    """Return whether a version is one that is wanted; releases before a final are not.

    Args:
        found: A version such as 0.8.5, 0.8.6.post1 or 0.9.0rc1.
    """
    final = re.fullmatch(r"(\d+(?:\.\d+)*)(?:\.post\d+)?(?:\+.*)?", found)
    if final is None:
        return False
    return OLDEST <= tuple(map(int, final[1].split("."))) < BEFORE


def version_problem() -> str:
    """Return why the kernels cannot be had in this environment; empty: they can."""
    found = installed_liger_version()
    if found is None:
        return "liger-kernel is not installed"
    if not is_wanted(found):
        return f"liger-kernel {found} is installed, and {WANTED} is wanted"
    return ""
