"""The command line: light, and clear about what is wrong."""

import subprocess
import sys

import pytest

from retune.cli import main
from retune.publishing import write_manifest
from retune.steps import CODE
from tiny_facts import tiny_facts

HEAVY = "torch", "transformers", "deepspeed", "datasets"
NEED_NO_TORCH = "download", "prepare", "tokenize", "configure", "report"


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_help_lists_every_step_and_loads_nothing_heavy():
    code = (
        "import sys; from retune.cli import build_parser;"
        "print(build_parser().format_help(), *sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(CODE) <= set(shown)
    assert not set(HEAVY) & set(shown)


@pytest.mark.parametrize("module", [*NEED_NO_TORCH, "explain_reruns"])
def test_what_needs_no_torch_does_not_load_it(module):
    assert "torch" not in modules_after(f"import retune.{module}")


def test_wrong_settings_are_named(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["consolidate", "--settings", '{"max_shard_size": 1}'])
    assert exit_.value.code == 2
    assert "max_shard_size: unknown key" in capsys.readouterr().err


def test_an_error_of_the_user_shows_no_traceback(tmp_path, capsys):
    (tmp_path / "base").mkdir()
    tiny_facts(vocab_size=9, context_length=8).write(tmp_path / "base")
    arguments = {
        "clean": tmp_path / "clean",
        "base": tmp_path / "base",
        "tokens": tmp_path / "tokens",
        "metrics": tmp_path / "metrics.json",
    }
    (tmp_path / "base/tokenizer.json").write_text(
        '{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],'
        ' "normalizer": null, "pre_tokenizer": null, "post_processor": null,'
        ' "decoder": null, "model": {"type": "BPE", "vocab": {}, "merges": []}}'
    )
    (tmp_path / "clean").mkdir()
    for folder in ("base", "clean"):
        write_manifest(tmp_path / folder)
    paths = [word for k, v in arguments.items() for word in (f"--{k}", str(v))]
    assert main(["tokenize", "--settings", '{"sequence_length": 16}', *paths]) == 1
    shown = capsys.readouterr().err
    assert "error: tokenize.sequence_length: 16 is longer" in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "tokens").exists()
