"""A tokenizer_config.json that means the same in Transformers 4 and 5."""

from typing import Any

# The class that reads tokenizer.json as it is, in both versions.
PLAIN_CLASS = "PreTrainedTokenizerFast"
# Transformers 5 writes it, and Transformers 4 does not know it.
NEW_PLAIN_CLASS = "TokenizersBackend"


def readable_by_both(
    config: dict[str, Any], tokenizer: dict[str, Any]
) -> dict[str, Any]:
    """Return the tokenizer_config.json that both versions read alike.

    Uses names of classes and forms of values that the two versions write. When they
    change, a tuned model may not load, or its text may be encoded otherwise, in another
    version of Transformers than the one that trained it.

    Args:
        config: The content of tokenizer_config.json.
        tokenizer: The content of tokenizer.json.
    """
    values = dict(config)
    if values.get("tokenizer_class") == NEW_PLAIN_CLASS:
        values["tokenizer_class"] = PLAIN_CLASS
    # A list is the newer form, with which Transformers 4 fails.
    if isinstance(values.get("extra_special_tokens"), list):
        both = [*values.pop("extra_special_tokens")]
        both += values.get("additional_special_tokens") or []
        named = {str(token): token for token in both}
        values["additional_special_tokens"] = list(named.values())
    # Transformers 4 changes the tokenizer where the two files disagree.
    words = tokenizer.get("pre_tokenizer") or {}
    prefix = words.get("add_prefix_space")
    if prefix is not None and prefix != values.get("add_prefix_space", False):
        values["add_prefix_space"] = prefix
    return values
