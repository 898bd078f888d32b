"""Text from data or models, escaped so that no reader takes it for markup."""

import html
import re

# What Markdown, HTML or the Hugging Face page could take for markup or a link.
MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&!$@]|:(?=\S)|(?<=www)\.", re.IGNORECASE)


def visible(text: str) -> str:
    """Return `text` with escapes in the place of invisible characters.

    Control characters, and those that reverse the direction of writing, would show
    another text than there is. Line breaks and tabs stay.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1]
        for char in text
    )


def to_html(text: str) -> str:
    """Return HTML that shows exactly `text`."""
    return html.escape(visible(text))


def to_markdown(text: str) -> str:
    """Return Markdown that shows exactly `text`, on one line; ↵ is a line break."""
    line = visible(text).replace("\t", " ").replace("\n", "↵ ").strip(" ")
    return MARKUP.sub(lambda match: f"&#{ord(match[0])};", line)
