"""The facts of a run as rows of plain text, for every table that shows them."""

import json
from typing import Any

import yaml

from retune.quantities import counted, duration, parameters, percent
from retune.reporting.public_paths import public_settings
from retune.reporting.run_results import RunResults
from retune.settings import (
    SPLITS,
    DatasetSettings,
    FinetuneSettings,
    LoraSettings,
    ModelSettings,
    Params,
)

Row = tuple[str, ...]


def protocol_text(run: RunResults) -> str:
    """Return how the models were scored, in a paragraph."""
    protocol = run.evaluation["protocol"]
    settings = run.settings.evaluate
    test = run.evaluation["test"]
    return (
        f"Each held-out document is scored by itself, after {protocol['prefix']}, every"
        f" token exactly once, in windows of {protocol['context_length']:,} tokens that"
        f" move on by {protocol['stride']:,}, in {protocol['dtype']} on"
        f" {protocol['device']}. Bits per byte divide by the text's UTF-8 bytes and so"
        " compare models with different tokenizers; lower is better. The interval is"
        f" a paired bootstrap over the documents ({settings.bootstrap_draws:,} draws)."
        f" The tuned model predicts {percent(test['win_rate'])} of the"
        f" {counted(test['tuned']['documents'], 'test document')} better than the base"
        " model. Floors: unigram goes by how often each token occurs in the training"
        " data, uniform finds every token equally likely."
    )


def training_rows(run: RunResults) -> list[Row]:
    """Return name and value of what the training was."""
    plan, settings, measured = run.plan, run.settings.finetune, run.finetune
    resumed = measured.get("resumed_from_step")
    return [
        (
            "steps",
            f"{measured['steps']:,} ({measured['epochs']:g} epochs)",
        ),
        ("tokens", f"{measured['tokens']:,} predicted"),
        (
            "batch",
            f"{plan['global_batch_size']:,} sequences of {plan['sequence_length']:,}"
            f" tokens: {describe_shares(plan)} x"
            f" {plan['micro_batch_size']:,} per pass x"
            f" {plan['gradient_accumulation_steps']:,} accumulated",
        ),
        (
            "learning rate",
            f"{run.peak_learning_rate:g} at its peak, {settings.lr_scheduler_type},"
            f" warm-up over {describe_warmup(settings)}",
        ),
        *([("LoRA", describe_adapters(settings.lora))] if settings.lora else []),
        (
            "AdamW",
            f"betas {settings.adam_beta1:g} and {settings.adam_beta2:g},"
            f" epsilon {settings.adam_epsilon:g},"
            f" weight decay {settings.weight_decay:g}",
        ),
        ("gradient clipping", describe_clipping(plan["gradient_clipping"])),
        ("precision", plan["precision"]),
        ("DeepSpeed", describe_strategy(plan)),
        ("hardware", describe_hardware(plan)),
        (
            "time",
            duration(measured["seconds"])
            + (f" since it resumed at step {resumed:,}" if resumed else ""),
        ),
        (
            "speed",
            f"{measured['tokens_per_second']:,.0f} tokens/s"
            + (f", MFU {percent(measured['mfu'])}" if measured["mfu"] else ""),
        ),
        ("peak memory", f"{max(measured['peak_memory_gb']):.2f} GB on a rank"),
        ("last training loss", f"{measured['train_loss']:.3f} nats per token"),
        (
            "validation loss",
            f"{run.first_validation_loss:.3f} before, {measured['validation_loss']:.3f}"
            f" after, {measured['best_validation_loss']:.3f} at its lowest",
        ),
    ]


def describe_shares(plan: dict[str, Any]) -> str:
    """Return what computes a batch side by side."""
    stages = plan["pipeline_stages"]
    return counted(plan["world_size"] // stages, "rank" if stages == 1 else "pipeline")


def describe_warmup(settings: FinetuneSettings) -> str:
    """Return how long the learning rate rises."""
    if settings.warmup_steps is None:
        return f"{percent(settings.warmup_ratio)} of the steps"
    return counted(settings.warmup_steps, "step")


def describe_clipping(limit: float) -> str:
    """Return the largest norm of the gradient; 0 does not clip."""
    return f"norm {limit:g}" if limit else "none"


def describe_adapters(lora: LoraSettings) -> str:
    """Return rank, scale and place of the adapters."""
    targets = lora.target_modules
    where = targets if isinstance(targets, str) else ", ".join(targets)
    return (
        f"r {lora.r}, lora_alpha {lora.lora_alpha:g}, dropout {lora.lora_dropout:g},"
        f" on {where}; merged"
    )


def describe_strategy(plan: dict[str, Any]) -> str:
    """Return ZeRO stage, pipeline, offload, recomputation and attention."""
    parts = [f"ZeRO stage {plan['zero_stage']}"]
    if plan["pipeline_stages"] > 1:
        parts.append(f"pipeline of {plan['pipeline_stages']} stages")
    for what in ("optimizer", "param"):
        if plan[f"offload_{what}"] != "none":
            parts.append(f"offload_{what}: {plan[f'offload_{what}']}")
    if plan["activation_checkpointing"]:
        parts.append("activation checkpointing")
    parts.append(f"{plan['attn_implementation']} attention")
    return ", ".join(parts)


def describe_hardware(plan: dict[str, Any]) -> str:
    """Return what the ranks computed on."""
    hardware = plan["hardware"]
    ranks = counted(hardware["gpus_per_node"], "rank")
    nodes = "" if hardware["nodes"] == 1 else f"{hardware['nodes']} nodes, each with "
    if hardware["accelerator"] == "cpu":
        return f"CPU: {nodes}{ranks}"
    return f"GPU: {nodes}{ranks}" + (
        f" on {hardware['gpu_name']}" if hardware["gpu_name"] else ""
    )


def origin_rows(run: RunResults) -> list[Row]:
    """Return name and value of where the data came from."""
    raw, dataset = run.raw, run.settings.dataset
    rows = [("source", title_of_dataset(dataset))]
    rows += [
        (key.replace("_", " "), str(raw[key]))
        for key in ("revision", "subset", "python_version", "attribution")
        if raw.get(key)
    ]
    unknown = {
        "hub": "see the dataset's page on the hub",
        "local": "not recorded",
    }
    return [*rows, ("licence", raw.get("licence") or unknown[dataset.source])]


def removal_rows(run: RunResults) -> list[Row]:
    """Return name and value of what the steps took out, or took for something else."""
    rejected, overlap = run.data["rejected"], run.data["overlap"]
    checks = ", ".join(
        f"{count:,} {check}" for check, count in rejected["by_check"].items()
    )
    lost = ", ".join(f"{n:,} from {split}" for split, n in overlap["removed"].items())
    held_out = sum(run.data["in_other_splits"]["train"].values())
    return [
        ("raw documents", f"{run.raw_documents:,}"),
        (
            "rejected by the checks",
            f"{rejected['count']:,} ({percent(rejected['share'])})"
            + (f": {checks}" if checks else ""),
        ),
        (
            "removed as duplicates",
            f"{run.data['duplicates_removed']:,}"
            + (
                f": {held_out:,} of train are in validation or test" if held_out else ""
            ),
        ),
        (
            "removed as overlap with train",
            f"{lost} ({overlap['words']} words in a row)"
            if overlap["words"]
            else "not looked for",
        ),
        *token_rows(run),
    ]


def token_rows(run: RunResults) -> list[Row]:
    """Return name and value of what the tokenizer could not keep as it is written."""
    splits = run.tokens["splits"].values()
    lost, spelled = (
        sum(split[key] for split in splits)
        for key in ("lost_characters", "special_tokens_spelled_out")
    )
    meant = "text" if run.settings.model.split_special_tokens else "special tokens"
    return [
        ("lost, since the tokenizer lacks them", f"{lost:,} characters"),
        (
            "special tokens spelled out in the texts",
            f"{spelled:,}" + (f", encoded as {meant}" if spelled else ""),
        ),
    ]


def split_rows(run: RunResults) -> list[Row]:
    """Return split, documents, groups, words, bytes and tokens."""
    data, tokens = run.data, run.tokens["splits"]
    return [
        (
            split,
            *(
                f"{data[key][split]:,}"
                for key in ("documents", "groups", "words", "bytes")
            ),
            f"{tokens[split]['tokens']:,}",
        )
        for split in SPLITS
    ]


def plan_rows(run: RunResults) -> list[Row]:
    """Return setting, value and why of each decision of `configure`."""
    return [
        (each["setting"], json.dumps(each["value"]).strip('"'), each["why"])
        for each in run.plan["decisions"]
    ]


def plan_text(run: RunResults) -> str:
    """Return what was planned, in two sentences, and what of it is hardly meant."""
    plan = run.plan
    return (
        f"{parameters(plan['num_parameters'])};"
        f" {describe_hardware(plan)}; each step sees {plan['tokens_per_step']:,} tokens"
        f" ({plan['global_batch_size']:,} sequences of {plan['sequence_length']:,})."
        " Weights, gradients and Adam states take"
        f" {plan['model_states_gb_per_rank']:.2f} GB on each rank, activations come on"
        " top." + "".join(f" {warning}." for warning in plan["warnings"])
    )


def title_of_dataset(dataset: DatasetSettings) -> str:
    """Return the dataset's name for people."""
    if dataset.source == "hub":
        return dataset.name + (f" ({dataset.subset})" if dataset.subset else "")
    return {
        "builtin": "Python's own documentation",
        "local": "local files",
    }[dataset.source]


def title_of_base(model: ModelSettings) -> str:
    """Return the base model's name for people."""
    if model.source == "local":
        return model.folder.rstrip("/").rpartition("/")[2]
    return model.name or "a tiny GPT-2 with random weights"


def title_of(run: RunResults) -> str:
    """Return the model's name for people."""
    model, dataset = run.settings.model, title_of_dataset(run.settings.dataset)
    if model.source == "builtin":
        return f"A tiny GPT-2 trained on {dataset}"
    return f"{title_of_base(model)} fine-tuned on {dataset}"


def settings_text(settings: Params) -> str:
    """Return all settings of a run as they would stand in params.yaml.

    Of paths outside the project, their last names alone.
    """
    return as_yaml(public_settings(settings).model_dump(mode="json"))


def as_yaml(value: Any) -> str:
    """Return YAML in the order of `value`."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=88)
