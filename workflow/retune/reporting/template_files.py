"""The templates of the page and of the model card, as Jinja loads them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

TEMPLATES = Path(__file__).parent / "templates"


def load_template(
    name: str,
    filters: Mapping[str, Callable[[str], str]],
    is_html: bool = False,
    finalize: Callable[[object], object] | None = None,
) -> Template:
    """Return a template, in which a variable that is not defined is an error.

    Args:
        name: Name of the file.
        filters: Filters of the template by their names.
        is_html: Whether Jinja escapes every value for HTML.
        finalize: Function that is applied to each value before it is shown.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=is_html,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
