"""Whether the packages that settings ask for are installed here."""

from collections.abc import Callable
from contextlib import suppress

from retune.checking.outcome import Outcome
from retune.checking.sections import Sections
from retune.errors import RetuneError
from retune.launching.flash_attention import check_flash_attention
from retune.launching.liger import check_liger_kernel
from retune.planning.bitsandbytes import check_bitsandbytes
from retune.planning.peft import check_peft
from retune.settings import ConfigureSettings, FinetuneSettings
from retune.settings.rules import WrongKeyError


def check_packages(sections: Sections) -> Outcome:
    """Return which packages that settings ask for are missing, or too old or new."""
    configure = sections.part(ConfigureSettings)
    finetune = sections.part(FinetuneSettings)
    needed: list[str] = []
    errors: list[str] = []

    def need(package: str, check: Callable[[], None]) -> None:
        needed.append(package)
        try:
            check()
        except RetuneError as error:
            errors.append(str(error))

    with suppress(WrongKeyError):
        if finetune.lora:
            need("peft", check_peft)
            if finetune.lora.load_in_4bit:
                setting = "finetune.lora.load_in_4bit: true"
                need("bitsandbytes", lambda: check_bitsandbytes(setting))
    with suppress(WrongKeyError):
        if configure.optim == "adamw_8bit":
            setting_8bit = f"configure.optim: {configure.optim}"
            need("bitsandbytes", lambda: check_bitsandbytes(setting_8bit))
    with suppress(WrongKeyError):
        if configure.use_liger_kernel is True:
            need("liger-kernel", lambda: check_liger_kernel(configure))
    with suppress(WrongKeyError):
        if configure.attn_implementation == "flash_attention_2":
            need("flash-attn", lambda: check_flash_attention(configure))
    found = ", ".join(dict.fromkeys(needed)) or "none beside those of every run"
    return Outcome(found, tuple(errors))
