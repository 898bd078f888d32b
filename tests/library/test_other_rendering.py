"""AutoTokenizer gives the tokens that a conversation is trained by, or it is told."""

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from evaluation_case import SHORT, TWO_TURNS, say
from retune.chat.template import FILE, builtin_template
from retune.evaluation.other_rendering import find_other_rendering
from retune.examples.example import Completion, Conversation
from retune.settings.model import CHAT_TEMPLATES
from retune.tokens.auto_tokenizer import load_auto_tokenizer
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.tokenizer import ModelTokenizer
from tiny_facts import tiny_facts
from tiny_tokenizers import byte_level

CONTROL = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]
CONTROL += ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
CONTROL += ["<|eot_id|>", "[INST]", "[/INST]"]
LOOP = "{% for message in messages %}"
WORDS = LOOP + "{{ message.role }}: {{ message.content }}\n{% endfor %}"
WORDS += "{% if add_generation_prompt %}assistant: {% endif %}"
DATED = "{{ strftime_now('%d %B %Y') }}<|im_end|>" + WORDS
PARTS = WORDS.replace("message.content", "message.content[0].text")
THINKING = WORDS.replace(
    "assistant: {% endif",
    "assistant: {% if not (enable_thinking | default(true)) %}OFF{% endif %}{% endif",
).replace(": {{ m", ": {% if message.role == 'assistant' %}OFF{% endif %}{{ m")
CALLS = LOOP + "{{ message.role }}: {{ message.content }}"
CALLS += "{% for call in message.tool_calls or [] %}"
CALLS += "{{ call.function.name + call.function.arguments }}{% endfor %}</s>"
CALLS += "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TEMPLATES = {"words": WORDS, "dated": DATED, "parts": PARTS, "thinking": THINKING}
TEMPLATES |= {name: builtin_template(name) for name in CHAT_TEMPLATES}
EXAMPLES = [
    SHORT,
    Conversation(TWO_TURNS.messages[1:]),
    Conversation((*SHORT.messages, say("user", "Is this trained?"))),
    Completion("Is it a list?", " No."),
]


def make_folder(folder, template: str):
    """Write a tokenizer with a chat template; return its facts."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens([AddedToken(token) for token in CONTROL])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    (folder / FILE).write_text(template)
    ends = ("</s>", "<|im_end|>", "<end_of_turn>", "<|eot_id|>")
    return tiny_facts(
        vocab_size=5000,
        bos_token_id=tokenizer.token_to_id("<s>"),
        eos_token_id=tokenizer.token_to_id("</s>"),
        end_token_ids=sorted(map(tokenizer.token_to_id, ends)),
        chat_variables={"bos_token": "<s>", "eos_token": "</s>"},
    )


def find(folder, template: str, examples, other_template: str | None = None):
    """Return the first of the examples of which AutoTokenizer makes other tokens."""
    facts = make_folder(folder, template)
    tokenizer = ModelTokenizer.of(folder, facts)
    names = [f"example {number}" for number in range(len(examples))]
    encoded = ExampleEncoder(folder, facts, tokenizer).encode(names, examples)
    auto = load_auto_tokenizer(folder)
    if other_template:
        auto.chat_template = other_template
    return find_other_rendering(auto, tokenizer, names, examples, encoded)


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_of_every_kind_are_rendered_alike(tmp_path, template):
    assert find(tmp_path, TEMPLATES[template], EXAMPLES) is None


def test_arguments_of_calls_may_be_texts_to_a_template(tmp_path):
    calling = say("assistant", "", tool_calls=[CALL])
    example = Conversation((say("user", "Add."), calling))
    assert find(tmp_path, CALLS, [example]) is None


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (WORDS.replace(": ", "; "), "token 3 is "),
        ("{{ raise_exception('no') }}", "refuses it: no"),
    ],
)
def test_another_template_is_told(tmp_path, other, text):
    found = find(tmp_path, WORDS, EXAMPLES, other)
    assert found.document == "example 0"
    assert text in found.text


def test_a_completion_is_compared_as_a_text(tmp_path):
    facts = make_folder(tmp_path, WORDS)
    tokenizer = ModelTokenizer.of(tmp_path, facts)
    examples = [Completion("Is it a list?", " No.")]
    encoded = ExampleEncoder(tmp_path, facts, tokenizer).encode(["it"], examples)
    encoded[0][0].ids[2] += 1
    auto = load_auto_tokenizer(tmp_path)
    found = find_other_rendering(auto, tokenizer, ["it"], examples, encoded)
    assert found.document == "it"
