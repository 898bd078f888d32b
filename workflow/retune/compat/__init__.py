"""Every use of a private or undocumented name of a dependency.

A file for each tool and concern. Each docstring says which names it uses, why, and what
stops to work when they go away; `tests/library/test_compat_*.py` fail when they do.
"""
