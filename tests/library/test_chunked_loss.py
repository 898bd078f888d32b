"""The loss some tokens at a time, and its gradients, are those of all logits."""

import pytest
import torch
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM

from model_families import FAMILIES, build_family
from retune.artifacts.model_facts import OutputHead
from retune.compat.pytorch_live_storages import LiveStorages
from retune.engines import chunked_loss
from retune.engines.chunked_loss import chunked_loss_sum, logits_of
from retune.engines.loss import token_loss_sum, trained_labels
from retune.engines.loss_in_forward import compute_loss_in_forward, computes_loss
from retune.models.find_model_facts import find_model_facts

TOKENS, HIDDEN, WORDS = 50, 16, 300
HEADS = {
    "plain": OutputHead(),
    "scaled": OutputHead(scale=0.0625),
    "capped": OutputHead(softcap=3.0),
    "both": OutputHead(scale=4.0, softcap=3.0),
}


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch):
    """Have chunks of 16 tokens, so that the last one is shorter."""
    monkeypatch.setitem(chunked_loss.CHUNK_TOKENS, "cpu", 16)


def inputs_of(dtype=torch.float32, tokens=TOKENS):
    """Return hidden states, weight, bias and labels."""
    torch.manual_seed(0)
    shapes = (tokens, HIDDEN), (WORDS, HIDDEN), (WORDS,)
    tensors = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    return *tensors, torch.randint(0, WORDS, (tokens,))


def results(loss_of, hidden, weight, bias, labels, head):
    """Return the loss, and the gradients of what has any."""
    inputs = [t for t in (hidden, weight, bias) if t is not None and t.requires_grad]
    loss = loss_of(hidden, weight, bias, labels, head)
    return loss.detach(), torch.autograd.grad(loss * 0.3, inputs)


def whole(hidden, weight, bias, labels, head):
    """Return the loss from the logits of all tokens."""
    return token_loss_sum(logits_of(linear(hidden, weight, bias), head), labels)


@pytest.fixture(params=[1, 64])
def multiple(request, monkeypatch):
    """Have the vocabulary filled up as on GPUs, or not."""
    assert WORDS % 64
    monkeypatch.setitem(chunked_loss.WORDS_MULTIPLE, "cpu", request.param)


@pytest.mark.usefixtures("multiple")
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_loss_and_gradients_are_those_of_all_logits(head, has_bias):
    hidden, weight, bias, labels = inputs_of()
    arguments = hidden, weight, bias if has_bias else None, labels, head
    loss, gradients = results(chunked_loss_sum, *arguments)
    expected, expected_gradients = results(whole, *arguments)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert (gradient - wanted).norm() < 1e-6 * wanted.norm()


@pytest.mark.usefixtures("multiple")
def test_in_bf16_the_gradients_are_as_near_to_the_exact_ones():
    # So many chunks that rounding after each of them would show.
    arguments = *inputs_of(torch.bfloat16, tokens=4000), OutputHead()
    exact = (
        *(t.detach().double().requires_grad_() for t in arguments[:3]),
        *arguments[3:],
    )
    _, wanted = results(whole, *exact)
    errors = []
    for loss_of in (chunked_loss_sum, whole):
        _, gradients = results(loss_of, *arguments)
        assert all(gradient.dtype == torch.bfloat16 for gradient in gradients)
        pairs = zip(gradients, wanted, strict=True)
        errors.append([float((g - w).norm() / w.norm()) for g, w in pairs])
    for chunked, at_once in zip(*errors, strict=True):
        assert chunked < 1.5 * at_once


@pytest.mark.usefixtures("multiple")
def test_a_frozen_head_gets_no_gradient():
    hidden, weight, bias, labels = inputs_of()
    weight.requires_grad_(False)
    bias.requires_grad_(False)
    arguments = hidden, weight, bias, labels, OutputHead()
    _, (gradient,) = results(chunked_loss_sum, *arguments)
    _, (wanted,) = results(whole, *arguments)
    assert (gradient - wanted).norm() < 1e-6 * wanted.norm()


@pytest.mark.usefixtures("multiple")
def test_without_a_trained_token_loss_and_gradients_are_zero():
    arguments = *inputs_of(tokens=0), OutputHead()
    loss, gradients = results(chunked_loss_sum, *arguments)
    assert loss == 0
    assert all(gradient.norm() == 0 for gradient in gradients)


@pytest.mark.usefixtures("multiple")
def test_without_gradients_the_loss_is_the_same():
    arguments = *inputs_of(), OutputHead(softcap=3.0)
    with torch.no_grad():
        loss = chunked_loss_sum(*arguments)
    assert loss.item() == pytest.approx(whole(*arguments).item(), rel=1e-6)


def test_logits_of_one_chunk_are_in_memory_at_a_time():
    def peak(tokens):
        hidden, weight, _, labels = inputs_of(tokens=tokens)
        weight.requires_grad_(False)
        with LiveStorages() as live:
            for tensor in (hidden, weight, labels):
                live.ignore(tensor)
            chunked_loss_sum(hidden, weight, None, labels, OutputHead())
            return live.peak

    # There are 32 more rows of the gradient of hidden states, and no more logits.
    more = peak(48) - peak(16)
    assert more < 1.1 * 32 * HIDDEN * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_computes_the_loss_in_its_forward(family, tmp_path):
    folder = build_family(family, tmp_path)
    labels = torch.randint(0, WORDS, (2, 32))
    labels[0, 5:20] = -100
    tokens = torch.randint(0, WORDS, (2, 32))
    places, wanted = (torch.from_numpy(part) for part in trained_labels(labels))
    models = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for _ in range(2)
    ]
    output_head = find_model_facts(folder).output_head
    assert output_head is not None
    plain, model = models
    names = [name for name, _ in plain.named_parameters()]
    compute_loss_in_forward(model, output_head)
    assert computes_loss(model)
    assert not computes_loss(plain)
    assert [name for name, _ in model.named_parameters()] == names

    inputs = {"input_ids": tokens, "use_cache": False}
    logits = plain(**inputs).logits
    assert torch.equal(model(**inputs).logits, logits)
    expected = token_loss_sum(logits.flatten(0, 1), labels.flatten())
    loss = model(**inputs, labels=wanted, label_places=places)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    expected.backward()
    loss.backward()
    weights = zip(plain.named_parameters(), model.parameters(), strict=True)
    for (name, weight), other in weights:
        if weight.grad is not None:
            difference = (weight.grad - other.grad).norm()
            assert difference <= 2e-6 * weight.grad.norm() + 1e-9, name
