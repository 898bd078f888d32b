"""Methods of built-in types and special methods, as Python's help topics describe them.

`help("string-methods")` holds `str.split` and the others, and `help("specialnames")`
what a class may define, such as `object.__len__`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from retune.sources.builtin_corpus import TOPICS, read_topics
from retune.sources.public_names import PublicName

TOPICS_READ = ("topics/string-methods", "topics/specialnames")
MODULE = "builtins"
ENTRY = re.compile(
    r"^(?P<name>(?:str|object)\.\w+)\([^\n]*\)\n\n(?P<text>(?: {3}[^\n]*\n|\n)+)",
    re.MULTILINE,
)
# Code is in double quotes there, and a string within it in single ones.
QUOTED_CODE = re.compile(r'"([^"\n]+)"')


def read_topic_methods(folder: Path) -> Iterator[PublicName]:
    """Yield the methods that the topics of the library in `folder` describe."""
    seen: set[str] = set()
    for topic in read_topics(folder / TOPICS):
        if topic.id not in TOPICS_READ:
            continue
        for entry in ENTRY.finditer(f"{topic.content}\n"):
            if entry["name"] not in seen:
                seen.add(entry["name"])
                yield PublicName(
                    entry["name"],
                    MODULE,
                    "method",
                    with_backticks(dedent(entry["text"]).strip()),
                    ast.parse(""),
                    is_unambiguous=False,
                )


def with_backticks(text: str) -> str:
    """Return a text whose code is in backticks, cut where its quotes are no pairs."""
    before, _, _ = text.partition('""')
    if before != text:
        before = before.rpartition("\n\n")[0]
    return QUOTED_CODE.sub(r"`\1`", before)
