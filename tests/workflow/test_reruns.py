"""Every setting reruns the same steps under Snakemake and DVC: those of the table."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from both_tools import planned, stale
from retune.errors import RetuneError
from retune.settings import Params
from retune.settings.params import read_params
from retune.step_code import STEPS
from retune_dvc.stages import read_stages
from retune_workflow.explain_reruns import find_reruns
from retune_workflow.manual import ROOT

AFTER_SCORES = {"report", "publish"}
AFTER_FINETUNE = {"consolidate", "evaluate", "sample", *AFTER_SCORES}
AFTER_CONFIGURE = {"finetune", *AFTER_FINETUNE}
AFTER_TOKENIZE = {"configure", *AFTER_CONFIGURE}
# What a change of a setting reruns, by its section unless it is named.
RERUNS = {
    "hardware.accelerator": {"baseline", *AFTER_TOKENIZE},
    "dataset": set(STEPS) - {"fetch"},
    "model": {"fetch", "tokenize", "baseline", *AFTER_TOKENIZE},
    "hardware": AFTER_TOKENIZE,
    "prepare": {"prepare", "tokenize", "baseline", *AFTER_TOKENIZE},
    "tokenize": {"tokenize", *AFTER_TOKENIZE},
    "configure": AFTER_TOKENIZE,
    "finetune": AFTER_CONFIGURE,
    "finetune.lora": AFTER_TOKENIZE,
    "consolidate": AFTER_FINETUNE,
    "evaluate.context_length": {"baseline", "evaluate", *AFTER_SCORES},
    "evaluate.stride": {"baseline", "evaluate", *AFTER_SCORES},
    "evaluate.exact_match_examples": {"baseline", "evaluate", *AFTER_SCORES},
    "evaluate.dtype": {"baseline", "evaluate", "sample", *AFTER_SCORES},
    "evaluate": {"evaluate", *AFTER_SCORES},
    "sample": {"sample", *AFTER_SCORES},
    "report": {"report"},
    **dict.fromkeys(
        [
            *("finetune.save_steps", "finetune.save_total_limit"),
            *("finetune.save_only_model", "finetune.max_skipped_steps"),
            *("finetune.ddp_timeout", "finetune.profile"),
            *("evaluate.batch_size", "hardware.nvme_path"),
            "hardware.price_per_gpu_hour",
        ],
        set[str](),
    ),
}

# A setting is changed from the first of these settings in which it has a meaning.
SOURCES: dict[str, dict[str, Any]] = {
    "builtin": {"dataset": {"source": "builtin"}, "model": {"source": "builtin"}},
    "hub": {
        "dataset": {"source": "hub", "name": "some/texts", "revision": "a" * 40},
        "model": {"source": "hub", "name": "some/model", "revision": "b" * 40},
        "hardware": {"accelerator": "cuda"},
        "configure": {"activation_checkpointing": True},
    },
    "local": {
        "dataset": {"source": "local", "files": {"train": ["a.jsonl"]}},
        "model": {"source": "local", "folder": "a-model"},
        "configure": {"deepspeed_config": "a.json"},
    },
    "several": {
        "dataset": {"sources": {"mine": "a.jsonl", "python": "builtin-chat"}},
        "model": {"source": "builtin"},
    },
}
# Other values of settings that the type alone does not tell.
OTHER = {
    "model.chat_template": ["alpaca"],
    "configure.deepspeed_config": ["a.json"],
    "configure.overrides": [{"zero_optimization": {"reduce_bucket_size": 1000}}],
}
LEAVES = [
    f"{section}.{key}"
    for section, field in Params.model_fields.items()
    for key in field.annotation.model_fields
]


DEEPSPEED_CONFIG = '{"zero_optimization": {"stage": 2}}'


def reruns_of(leaf: str) -> set[str]:
    """Return what a changed setting reruns."""
    return RERUNS.get(leaf, RERUNS[leaf.split(".")[0]])


def settings_of(source: str) -> dict[str, Any]:
    """Return params.yaml for one kind of source."""
    sections = {section: {} for section in Params.model_fields}
    return {**sections, "finetune": {"learning_rate": 1e-4}, **SOURCES[source]}


def find_change(leaf: str) -> tuple[str, dict[str, Any]] | None:
    """Return a kind of source, and params.yaml with another value of one setting."""
    section, key = leaf.split(".")
    if key == "source":  # others of the section go with it
        values = settings_of("builtin")
        return "builtin", values | {section: SOURCES["local"][section]}
    field = Params.model_fields[section].annotation.model_fields[key]
    for source in SOURCES:
        values = settings_of(source)
        before = read_params(values)
        for value in OTHER.get(leaf) or other_values(field.annotation, field.default):
            changed = values | {section: values[section] | {key: value}}
            try:
                if read_params(changed) != before:
                    return source, changed
            except RetuneError:
                continue
    return None


def other_values(annotation: Any, default: Any) -> Iterator[Any]:
    """Return values that a setting of this type may have."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif annotation is bool:
        yield not default
    elif annotation in (int, float):
        known = default if isinstance(default, int | float) else 1
        yield from (known * 2, known + 1, known / 2, 8, 0.5)
    elif annotation is str:
        yield from ("another/name", "f" * 40)
    elif get_origin(annotation) is list:
        yield ["another"]
    elif get_origin(annotation) is dict:
        yield from ({"train": ["b.jsonl"]}, {"output": "answer"}, {"mine": 0.5})
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield {}
    for part in get_args(annotation):
        yield from other_values(part, default)


class Finished:
    """A workspace under DVC whose made-up outputs both tools take for finished."""

    def __init__(self, workspace, values):
        self.folder = workspace.folder
        self.environment = {**os.environ, "RETUNE_NO_DVC": "1", "COLUMNS": "200"}
        self._workspace = workspace
        self._values = values
        for name in ("a.jsonl", "b.jsonl"):
            (self.folder / name).write_text('{"text": "one document"}\n')
        (self.folder / "a.json").write_text(DEEPSPEED_CONFIG)
        for name in ("a-model", "another/name"):
            (self.folder / name).mkdir(parents=True)
            for file in ("config.json", "model.safetensors"):
                (self.folder / name / file).write_text("{}\n")
        self.write(values)
        workspace.looks_finished()
        self.run("git", "init", "--quiet")
        self.run(sys.executable, "-m", "retune_dvc", "resolve")
        self.run(sys.executable, "-m", "dvc", "commit", "--force")

    def run(self, *command):
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "workflow")}
        subprocess.run(
            command, cwd=self.folder, env=environment, check=True, capture_output=True
        )

    def write(self, values, **options):
        text = yaml.safe_dump(values, sort_keys=False, **options)
        (self.folder / "params.yaml").write_text(text)

    def replace(self, old, new):
        path = self.folder / "params.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def reruns(self):
        """Return what Snakemake would run, and what DVC finds stale."""
        return planned(self.folder, self.environment), stale(
            self.folder, self.environment
        )

    def reset(self):
        self.write(self._values)


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory, make_workspace):
    """A finished workspace for each kind of source."""
    return {
        source: Finished(
            make_workspace(tmp_path_factory.mktemp(source) / "job"), settings_of(source)
        )
        for source in SOURCES
    }


def test_explain_reruns_prints_this_table():
    rows = find_reruns(read_stages(ROOT / "dvc.yaml"))
    printed = {f"{row.section}.{key}": row for row in rows for key in row.settings}
    assert list(printed) == LEAVES
    for leaf, row in printed.items():
        assert set(row.steps) == reruns_of(leaf), leaf


def test_every_setting_can_be_changed():
    assert [leaf for leaf in LEAVES if not find_change(leaf)] == []


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_changed_setting_reruns_what_depends_on_it(workspaces, leaf):
    source, changed = find_change(leaf)
    workspace = workspaces[source]
    workspace.write(changed)
    try:
        by_snakemake, by_dvc = workspace.reruns()
    finally:
        workspace.reset()
    assert by_snakemake == by_dvc == reruns_of(leaf)


@pytest.mark.parametrize("source", SOURCES)
def test_unchanged_settings_rerun_nothing(workspaces, source):
    assert workspaces[source].reruns() == (set(), set())


def test_order_and_comments_rerun_nothing(workspaces):
    workspace = workspaces["local"]
    workspace.write(dict(reversed(settings_of("local").items())))
    workspace.replace("dataset:", "# A comment.\ndataset:  # another")
    try:
        assert workspace.reruns() == (set(), set())
    finally:
        workspace.reset()


def test_a_changed_deepspeed_config_reruns_what_depends_on_it(workspaces):
    workspace = workspaces["local"]
    path = workspace.folder / "a.json"
    path.write_text(DEEPSPEED_CONFIG.replace("2", "3"))
    try:
        by_snakemake, by_dvc = workspace.reruns()
    finally:
        path.write_text(DEEPSPEED_CONFIG)
    assert by_snakemake == by_dvc == AFTER_TOKENIZE
    assert workspace.reruns() == (set(), set())


@pytest.mark.parametrize("spelling", ["1e-4", "1.0e-4", "1E-04", "0.00010"])
def test_another_spelling_of_a_number_reruns_nothing(workspaces, spelling):
    workspace = workspaces["builtin"]
    workspace.replace("learning_rate: 0.0001", f"learning_rate: {spelling}")
    try:
        assert workspace.reruns() == (set(), set())
    finally:
        workspace.reset()


@pytest.mark.parametrize(
    ("module", "reruns"),
    [
        # `configure` follows a training step.
        ("tokens/blocks", AFTER_TOKENIZE),
        ("training/saver", AFTER_CONFIGURE),
        ("evaluation/bootstrap", {"evaluate", *AFTER_SCORES}),
        ("steps/sample", {"sample", *AFTER_SCORES}),
        ("steps/tokenize", {"tokenize", *AFTER_TOKENIZE}),
        ("measuring/peak_flops", {"report"}),
        # `configure` draws with it as well, and nothing depends on that.
        ("reporting/memory_figure", {"report"}),
        ("reporting/model_card", {"publish"}),
    ],
)
def test_changed_code_reruns_its_step(workspaces, module, reruns):
    workspace = workspaces["builtin"]
    path = workspace.folder / f"workflow/retune/{module}.py"
    text = path.read_text()
    path.write_text(f"{text}CHANGED = True\n")
    try:
        by_snakemake, by_dvc = workspace.reruns()
    finally:
        path.write_text(text)
    assert by_snakemake == by_dvc == reruns


def test_comments_and_docstrings_rerun_nothing(workspaces):
    workspace = workspaces["builtin"]
    library = workspace.folder / "workflow/retune"
    texts = {path: path.read_text() for path in library.rglob("*.py")}
    for path, text in texts.items():
        path.write_text(text.replace('"""', '"""Now: ', 1) + "# A comment.\n")
    try:
        assert workspace.reruns() == (set(), set())
    finally:
        for path, text in texts.items():
            path.write_text(text)
