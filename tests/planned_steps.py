"""What a dry run says: which steps would run, and why."""

import re


def read_reasons(shown: str) -> dict[str, str]:
    """Return why each step would run, from what a dry run has printed."""
    if "Nothing to be done" in shown:
        return {}
    text = re.sub(r"\n {14}(?=\S)", " ", shown)  # a line that goes on
    found = dict(re.findall(r"^([a-z]+) {2,}(\S.*)", text, re.MULTILINE))
    assert re.search(rf"^{len(found)} steps? would run", shown, re.MULTILINE), shown
    return found
