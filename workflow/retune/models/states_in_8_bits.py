"""Which parameters have optimizer states of 8 bits with `optim: adamw_8bit`."""

from torch import nn

from retune.compat.deepspeed_parameters import whole_numel, whole_shape

# bitsandbytes keeps the states of smaller tensors in 32 bits (`min_8bit_size`).
MIN_NUMEL = 4096


def parameters_in_8_bits(model: nn.Module) -> list[nn.Parameter]:
    """Return the trained matrices that are large and no embeddings.

    Those are the ones whose states Transformers' Trainer keeps in 8 bits. A row of an
    embedding has a gradient only where its token occurs, which a block's common scale
    does not fit; an output head that is tied to the embedding is the same matrix.

    Args:
        model: The model, whole or one stage of a pipeline; under ZeRO-3 with its
            parameters sharded, or on the meta device.
    """
    embeddings = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
    }
    return [
        parameter
        for parameter in model.parameters()
        if parameter.requires_grad
        and id(parameter) not in embeddings
        and len(whole_shape(parameter)) > 1
        and whole_numel(parameter) >= MIN_NUMEL
    ]
