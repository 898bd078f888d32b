"""AdamW of bitsandbytes 0.50 in which a parameter group says how many bits it has.

Overrides `get_config` of its optimizers, which is asked for the options of a parameter
before its states are made. bitsandbytes itself has one number of bits for an optimizer,
and exceptions by the number of a group and of a parameter in it; under ZeRO these
numbers are not those of the model's parameters. In `state_dict` all its states are in
one more dict, whose name `compat/deepspeed_checkpoints.py` knows. Without these, norms
and embeddings would have 8 bits or not as DeepSpeed joins them with others.
"""

from typing import Any

from bitsandbytes.optim import AdamW8bit

Group = dict[str, Any]


class GroupedAdamW8bit(AdamW8bit):
    """AdamW whose parameter groups have an option `optim_bits`: 8 or 32."""

    def get_config(self, gindex: int, pindex: int, group: Group) -> Group:
        """Return the options of a parameter, for bitsandbytes.

        Args:
            gindex: Number of its group; under ZeRO-1 and 2 always 0.
            pindex: Its number in the group.
            group: Its group.
        """
        options = super().get_config(gindex, pindex, group)
        # The group has 8 bits for a parameter's whole size: what a rank holds of it may
        # be small.
        return {**options, "optim_bits": group["optim_bits"], "min_8bit_size": 0}
