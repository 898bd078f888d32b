"""Which text of a conversation is trained, for templates of every kind."""

import pytest

from retune.chat.refusal import ConversationError
from retune.chat.template import ChatTemplate, builtin_template
from retune.chat.trained_text import trained_texts
from retune.chat.turn_ends import TurnEnds
from retune.errors import RetuneError
from retune.examples.example import Conversation
from retune.settings.model import CHAT_TEMPLATES

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
ENDS = TurnEnds(["<|im_end|>", "</s>", "<|user|>", "<|tool|>"], "</s>")
ADDED = ["<think>", "</think>", "<|im_end|>", "</s>", "<|user|>", "<|tool|>"]

LOOP = "{% for message in messages %}"
END = "{% endfor %}"
CHATML = (
    LOOP
    + "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    + END
    + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Writes a thought into the last turn alone, as models that think do.
THINKING = (
    LOOP
    + "<|im_start|>{{ message.role }}\n"
    + "{% if message.role == 'assistant' and loop.last %}"
    + "<think>\n{{ message.reasoning_content or '' }}\n</think>\n\n{% endif %}"
    + "{{ message.content }}<|im_end|>\n"
    + END
    + "{% if add_generation_prompt %}<|im_start|>assistant\n"
    + "{% if enable_thinking is defined and not enable_thinking %}"
    + "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# Opens a thought in the prompt that an answer without one does not have.
OPENED = (
    LOOP
    + "<|{{ message.role }}|>{% if message.role == 'assistant' %}</think>{% endif %}"
    + "{{ message.content }}{% if message.role == 'assistant' %}</s>{% endif %}"
    + END
    + "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)
# Ends no turn: the next one's role does.
ENDLESS = (
    LOOP
    + "<|{{ message.role }}|>{{ message.content }}"
    + END
    + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Ends no turn, and begins none with a token that generation stops at.
WORDS = (
    LOOP
    + "{{ message.role }}: {{ message.content }}\n"
    + END
    + "{% if add_generation_prompt %}assistant: {% endif %}"
)
# Writes a second token at the end of all.
TWO_ENDS = (
    LOOP
    + "[{{ message.role }}]{{ message.content }}<|im_end|>\n"
    + END
    + "{% if add_generation_prompt %}[assistant]{% else %}{{ eos_token }}{% endif %}"
)
# Ends the last turn otherwise than the others.
OTHER_END = (
    LOOP
    + "[{{ message.role }}]{{ message.content }}"
    + "{{ '</s>' if loop.last and message.role == 'assistant' else '<|end|>' }}"
    + END
    + "{% if add_generation_prompt %}[assistant]{% endif %}"
)
MARKED = (
    LOOP
    + "[{{ message.role }}]{% if message.role == 'assistant' %}"
    + "{% generation %}{{ message.content }}<|im_end|>\n{% endgeneration %}"
    + "{% else %}{{ message.content }}{% endif %}"
    + END
)
# As before, but the mark leaves out the token that ends the turn.
MARKED_SHORT = MARKED.replace(
    "<|im_end|>\n{% endgeneration %}", "{% endgeneration %}<|im_end|>\n"
)
PARTS = (
    LOOP
    + "[{{ message.role }}]{% for part in message.content %}{{ part.text }}"
    + "{% endfor %}<|im_end|>"
    + END
    + "{% if add_generation_prompt %}[assistant]{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)


def user(content):
    return {"role": "user", "content": content}


def answer(content, train=True, **more):
    return {"role": "assistant", "content": content, "train": train, **more}


ONE = (user("2+2?"), answer("4"))
TWO = (*ONE, user("3+3?"), answer("6"))
FIRST_UNTRAINED = (user("2+2?"), answer("4", train=False), *TWO[2:])


def texts_of(text, messages, tools=()):
    template = ChatTemplate(text, SPECIAL)
    return trained_texts(template, Conversation(messages, tools), ENDS, ADDED)


def shown(text):
    """Return a text with its trained parts in brackets that nothing else has."""
    for start, end in reversed(text.spans):
        text_before, trained, rest = (
            text.text[:start],
            text.text[start:end],
            text.text[end:],
        )
        text = type(text)(f"{text_before}⟦{trained}⟧{rest}", text.spans[:-1])
    return text.text


CASES = {
    "chatml": (
        CHATML,
        ONE,
        ["<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n⟦4<|im_end|>⟧\n"],
    ),
    "two turns in one text": (
        TWO_ENDS,
        TWO,
        [
            "[user]2+2?<|im_end|>\n[assistant]⟦4<|im_end|>⟧\n"
            "[user]3+3?<|im_end|>\n[assistant]⟦6<|im_end|>⟧\n</s>"
        ],
    ),
    "a turn that is not trained": (
        TWO_ENDS,
        FIRST_UNTRAINED,
        [
            "[user]2+2?<|im_end|>\n[assistant]4<|im_end|>\n"
            "[user]3+3?<|im_end|>\n[assistant]⟦6<|im_end|>⟧\n</s>"
        ],
    ),
    "what follows the last trained turn is left out": (
        TWO_ENDS,
        (*ONE, user("Thanks.")),
        ["[user]2+2?<|im_end|>\n[assistant]⟦4<|im_end|>⟧\n</s>"],
    ),
    "an earlier turn is rendered otherwise": (
        THINKING,
        (user("2+2?"), answer("4", reasoning_content="Two."), *TWO[2:]),
        [
            "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
            "⟦<think>\nTwo.\n</think>\n\n4<|im_end|>⟧\n",
            "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
            "<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n"
            "⟦<think>\n\n</think>\n\n6<|im_end|>⟧\n",
        ],
    ),
    "another end of the last turn": (
        OTHER_END,
        TWO,
        [
            "[user]2+2?<|end|>[assistant]⟦4</s>⟧",
            "[user]2+2?<|end|>[assistant]4<|end|>[user]3+3?<|end|>[assistant]⟦6</s>⟧",
        ],
    ),
    "the prompt opens a thought": (
        OPENED,
        ONE,
        ["<|user|>2+2?<|assistant|>⟦</think>4</s>⟧"],
    ),
    "the next role ends a turn": (
        ENDLESS,
        TWO,
        ["<|user|>2+2?<|assistant|>⟦4<|user|>⟧3+3?<|assistant|>⟦6<|user|>⟧"],
    ),
    "nothing ends a turn": (
        WORDS,
        TWO,
        [
            "user: 2+2?\nassistant: ⟦4</s>⟧",
            "user: 2+2?\nassistant: 4\nuser: 3+3?\nassistant: ⟦6</s>⟧",
        ],
    ),
    "marks": (
        MARKED,
        TWO,
        ["[user]2+2?[assistant]⟦4<|im_end|>⟧\n[user]3+3?[assistant]⟦6<|im_end|>⟧\n"],
    ),
    "marks without the end": (
        MARKED_SHORT,
        FIRST_UNTRAINED,
        ["[user]2+2?[assistant]4<|im_end|>\n[user]3+3?[assistant]⟦6<|im_end|>⟧\n"],
    ),
    "contents as parts": (
        PARTS,
        ONE,
        ["[user]2+2?<|im_end|>[assistant]⟦4<|im_end|>⟧"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_trained(case):
    template, messages, expected = CASES[case]
    assert [shown(text) for text in texts_of(template, messages)] == expected


CALLS = "{% for call in message.tool_calls or [] %}"
ONE_CALL = CHATML.replace(
    "{{ message.content }}",
    "{{ message.content }}{% if message.tool_calls %}"
    "{{ message.tool_calls[0].function.name }}"
    "{{ message.tool_calls[0].function.arguments | tojson }}{% endif %}",
)
NO_ARGUMENTS = CHATML.replace(
    "{{ message.content }}",
    "{{ message.content }}" + CALLS + "{{ call.function.name }}(){% endfor %}",
)
# Leaves out what is said beside a call.
CALL_OR_WORDS = CHATML.replace(
    "{{ message.content }}",
    CALLS + "{{ call.function | tojson }}{% else %}{{ message.content }}{% endfor %}",
)


def calling(content, *arguments):
    calls = [
        {"type": "function", "function": {"name": "find", "arguments": each}}
        for each in arguments
    ]
    return answer(content, tool_calls=calls)


REFUSED = {
    "the second of two calls": (
        ONE_CALL,
        (user("Find a and b."), calling("", {"what": "a"}, {"what": "b"})),
        (),
        "the chat template leaves out messages[1].tool_calls: 'find'",
    ),
    "the arguments of a call": (
        NO_ARGUMENTS,
        (user("Find a."), calling("", {"what": "Paris"})),
        (),
        "the chat template leaves out an argument of messages[1].tool_calls: 'Paris'",
    ),
    "words beside a call that a later turn says again": (
        CALL_OR_WORDS,
        (
            user("Find a."),
            calling("Let me see.", {"what": "a"}),
            {"role": "tool", "content": "It is here."},
            answer("Let me see. It is here."),
        ),
        (),
        "the chat template leaves out messages[1].content (assistant): 'Let me see.'",
    ),
    "an assistant who begins": (
        "{% if not messages %}[system]Be kind.{% endif %}"
        + CHATML.replace("<|im_start|>{{", "[{{"),
        (answer("Hi."),),
        (),
        "it begins with the assistant, and the chat template has no prompt for that",
    ),
    "what stands before an answer changes": (
        LOOP
        + "[{{ message.role }}]{{ message.content }}{{ '!' if loop.last }}"
        + END
        + "{% if add_generation_prompt %}[assistant]{% endif %}",
        ONE,
        (),
        "the chat template writes the messages before an answer otherwise than when it"
        " asks for the answer",
    ),
    "a role": (
        NO_SYSTEM,
        ({"role": "system", "content": "Be brief."}, *ONE),
        (),
        "the chat template refuses it: System role not supported",
    ),
    "no trained turn": (
        CHATML,
        FIRST_UNTRAINED[:2],
        (),
        "none of its turns is trained",
    ),
    "reasoning": (
        CHATML,
        (user("2+2?"), answer("4", reasoning_content="Two and two.")),
        (),
        "the chat template leaves out messages[1].reasoning_content (assistant):"
        " 'Two and two.'",
    ),
    "tools": (
        CHATML,
        ONE,
        ({"type": "function", "function": {"name": "add"}},),
        "it has tools, and the chat template shows the model none",
    ),
    "a call": (
        CHATML,
        (
            user("2+2?"),
            answer(
                "",
                tool_calls=[
                    {"type": "function", "function": {"name": "add", "arguments": {}}}
                ],
            ),
        ),
        (),
        "the chat template leaves out messages[1].tool_calls: 'add'",
    ),
    "a role that is passed over": (
        CHATML.replace(LOOP, LOOP + "{% if message.role != 'tool' %}").replace(
            END, "{% endif %}" + END
        ),
        (*ONE, {"role": "tool", "content": "four"}, *TWO[2:]),
        (),
        "the chat template leaves out messages[2].content (tool): 'four'",
    ),
    "arguments as Python": (
        CHATML.replace(
            "{{ message.content }}",
            "{{ message.content }}{% for call in message.tool_calls %}"
            "{{ call.function.name }}{{ call.function.arguments ~ '' }}{% endfor %}",
        ).replace("message.role }}", "message.role if message.content is string }}"),
        (
            user("2+2?"),
            answer(
                "So:",
                tool_calls=[
                    {
                        "type": "function",
                        "function": {"name": "add", "arguments": {"a": "x"}},
                    }
                ],
            ),
        ),
        (),
        None,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    template, messages, tools, expected = REFUSED[case]
    if expected is None:
        # Arguments that the template would write as Python are given to it as JSON.
        (text,) = texts_of(template, messages, tools)
        assert 'So:add{"a": "x"}' in text.text
        return
    with pytest.raises(ConversationError) as caught:
        texts_of(template, messages, tools)
    assert str(caught.value) == expected


def test_a_template_that_is_no_jinja_names_the_line():
    with pytest.raises(RetuneError, match=r"no Jinja: .*, line 2"):
        ChatTemplate("{% for m in messages %}\n{{ m. }}", SPECIAL)


def test_the_date_is_always_the_same():
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}", SPECIAL)
    assert template.render([], [], {}) == "26 Jul 2024"


BUILTIN = {
    "alpaca": "<s>Be brief.\n\n### Instruction:\n2+2?\n\n### Response:\n⟦4</s>⟧\n\n"
    "### Instruction:\n3+3?\n\n### Response:\n⟦6</s>⟧\n\n",
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n"
    "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n⟦4<|im_end|>⟧\n"
    "<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n⟦6<|im_end|>⟧\n",
    "gemma": "<s><start_of_turn>user\nBe brief.\n\n2+2?<end_of_turn>\n"
    "<start_of_turn>model\n⟦4<end_of_turn>⟧\n"
    "<start_of_turn>user\n3+3?<end_of_turn>\n<start_of_turn>model\n"
    "⟦6<end_of_turn>⟧\n",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦4<|eot_id|>⟧"
    "<|start_header_id|>user<|end_header_id|>\n\n3+3?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦6<|eot_id|>⟧",
    "mistral": "<s>[INST] Be brief.\n\n2+2? [/INST]⟦ 4</s>⟧[INST] 3+3? [/INST]⟦ 6</s>⟧",
    "qwen": "<|im_start|>system\nBe brief.<|im_end|>\n"
    "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n⟦4<|im_end|>⟧\n"
    "<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n⟦6<|im_end|>⟧\n",
}


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_templates_that_are_built_in(name):
    ends = TurnEnds(["<|im_end|>", "<end_of_turn>", "<|eot_id|>", "</s>"], "</s>")
    template = ChatTemplate(builtin_template(name), SPECIAL)
    messages = ({"role": "system", "content": "Be brief."}, *TWO)
    (text,) = trained_texts(template, Conversation(messages), ends, ADDED)
    head, _, rendered = builtin_template(name).partition("\n")
    assert head.startswith("{#- tokens:")
    assert rendered
    assert shown(text) == BUILTIN[name]
