"""The chat template of a base model: its own, the user's, or one that is built in."""

import re
from collections.abc import Mapping
from pathlib import Path

from retune.artifacts.publishing import read_json, write_json, write_text
from retune.chat.refusal import ConversationError
from retune.chat.template import FILE, ChatTemplate, builtin_template
from retune.errors import RetuneError
from retune.models.added_tokens import add_missing_tokens
from retune.settings.model import CHAT_TEMPLATES
from retune.settings.user_paths import user_path
from retune.tokens.auto_tokenizer import load_auto_tokenizer
from retune.tokens.bos_eos import CONFIG, token_ids
from retune.tokens.tokenizer_json import FILE as TOKENIZER
from retune.tokens.tokenizer_json import read_tokenizer

GENERATION_CONFIG = "generation_config.json"
# The first line of a built-in template names the special tokens that it writes; that of
# a template of the user may.
TOKENS = re.compile(r"\{#- tokens:(.*?)-#\}")
# What looks like a special token.
MARK = re.compile(r"<\|[^\s|<>]+\|>")
CONFIG_JSON, EOS = "config.json", "eos_token_id"
QUESTION, ANSWER = "Who is there?", "It is me."


def prepare_chat_template(
    folder: Path, wanted: str
) -> tuple[dict[str, str], tuple[int, ...]]:
    """Put a chat template into a model's folder, for every tool that reads it.

    Special tokens that the template needs are added to a model that lacks them.
    Generation stops at the token that ends an answer in the template.
    generation_config.json is made to say so, if it does not.

    Args:
        folder: Folder of the model, with its tokenizer in order.
        wanted: The setting `model.chat_template`.

    Returns:
        Special tokens by the names that chat templates give them, and the ids of the
        tokens that were added.

    Raises:
        RetuneError: If there is no such template, or the model lacks its tokens and
            cannot be given them.
    """
    auto = load_auto_tokenizer(folder)
    variables = {
        name: str(token)
        for name, token in auto.special_tokens_map.items()
        if isinstance(token, str)
    }
    text = find_template(auto.chat_template, wanted)
    if text is None:
        return variables, ()
    template = ChatTemplate(text, variables)
    if wanted != "auto":
        check_marks(folder, template, wanted)
    added = add_missing_tokens(folder, tokens_of(text), wanted)
    write_text(folder / FILE, text)
    config = read_json(folder / CONFIG)
    if config.pop("chat_template", None) is not None:
        write_json(folder / CONFIG, config)
    stop_at_end_of_answer(folder, template)
    return variables, added


def find_template(own: str | Mapping[str, str] | None, wanted: str) -> str | None:
    """Return the text of the wanted template; None if the model has none of its own.

    Args:
        own: Template of the model's tokenizer; some have several, by name.
        wanted: The setting `model.chat_template`.

    Raises:
        RetuneError: If there is no such template.
    """
    if wanted == "auto":
        return own if isinstance(own, str | None) else own.get("default")
    if wanted in CHAT_TEMPLATES:
        return builtin_template(wanted)
    try:
        return user_path(wanted).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RetuneError(
            f"model.chat_template: {wanted} cannot be read: {reason}; write auto, a"
            f" file, or one of {', '.join(CHAT_TEMPLATES)}"
        ) from error


def tokens_of(text: str) -> list[str]:
    """Return the special tokens that a template names in its first line, if it does."""
    found = TOKENS.match(text)
    return found[1].split() if found else []


def check_marks(folder: Path, template: ChatTemplate, wanted: str) -> None:
    """Raise RetuneError if a template writes what looks like a token, and is none.

    Args:
        folder: Folder of the model.
        template: Its chat template.
        wanted: The setting `model.chat_template`.
    """
    if TOKENS.match(template.text):
        return
    missing = sorted({*MARK.findall(rendered_probe(template))} - {*token_ids(folder)})
    if missing:
        raise RetuneError(
            f"model.chat_template: {wanted} writes {', '.join(missing)}, of which the"
            " model's tokenizer makes no token of its own; to add them, begin the"
            f" template with {{#- tokens: {' '.join(missing)} -#}}, to keep them as"
            " text, with {#- tokens: -#}"
        )


def rendered_probe(template: ChatTemplate) -> str:
    """Return a question and its answer as text; empty if the template refuses them."""
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": ANSWER},
    ]
    try:
        return template.render(messages, [], {})
    except ConversationError:
        return ""


def stop_at_end_of_answer(folder: Path, template: ChatTemplate) -> None:
    """Have generation stop at the special token that ends an answer, if there is one.

    Args:
        folder: Folder of the model.
        template: Its chat template.
    """
    rest = rendered_probe(template).rpartition(ANSWER)[2].lstrip()
    special = {
        token["content"]
        for token in read_tokenizer(folder / TOKENIZER).get("added_tokens") or []
        if token["special"]
    }
    ends = [token for token in special if rest.startswith(token)]
    if not ends:
        return
    end = token_ids(folder)[max(ends, key=len)]
    path = folder / GENERATION_CONFIG
    config = read_json(path) if path.exists() else {}
    # Where generation_config.json names none, that of config.json counts.
    named = config.get(EOS, read_json(folder / CONFIG_JSON).get(EOS))
    stops = named if isinstance(named, list) else [named]
    stops = [token for token in stops if token is not None]
    if end not in stops:
        stops.append(end)
        write_json(path, {**config, EOS: stops})
