"""Names and commits on the Hugging Face hub."""

from typing import Annotated

from pydantic import StringConstraints

Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
HubName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$"
    ),
]


def check_hub_reference(
    source: str, name: str | None, revision: str | None, kind: str
) -> None:
    """Raise ValueError unless there are name and revision for the hub, and else none.

    Args:
        source: The setting `source`.
        name: The setting `name`.
        revision: The setting `revision`.
        kind: What goes before the name in an address of the hub, such as `datasets/`.
    """
    if source != "hub":
        if name or revision:
            raise ValueError(f"name and revision go with source: hub, not {source}")
    elif not name:
        raise ValueError("source: hub needs name, as in owner/name")
    elif not revision:
        raise ValueError(
            f"revision is missing: pin {name} to a commit (40 hex digits; the newest is"
            f" printed by: git ls-remote https://huggingface.co/{kind}{name} HEAD)"
        )
