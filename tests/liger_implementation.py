"""Which of Liger's kernels compute where others are preferred: as a program, JSON.

It needs tests/interpreted_triton on its path.
"""

import json
import os
from importlib import import_module

from retune.compat.liger_kernel import VARIABLES, liger_families, pin_triton

for variable in VARIABLES:
    os.environ |= {variable: "cutedsl", f"{variable}_ROPE": "nvidia-cutedsl"}
pin_triton()

# Not before the line above.
backends = import_module("liger_kernel.backends")


@backends.register_impl("rope", impl_name="nvidia-cutedsl", preference_rank=1)
def rotate(*arguments):
    """Be what Liger would take by itself."""
    raise AssertionError(arguments)


if __name__ == "__main__":
    pinned = backends.resolve_impl("rope")
    outcome = {
        "available": backends.available_impls("rope"),
        "pinned": pinned.impl_name,
        "module": pinned.forward.__module__,
        "families": sorted(liger_families()),
    }
    print(json.dumps(outcome))
