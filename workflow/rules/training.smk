# Training: the plan, the DeepSpeed run, one model from its shards.
# In: data/tokens, models/base. Out: plan, results/finetune, models/consolidated.
from retune.settings import TrainedWeightsSettings


rule configure:
    input:
        base="models/base",
        token_metrics="metrics/tokens.json",
    output:
        deepspeed="plan/deepspeed.json",
        plan="plan/plan.json",
        reasons="plan/reasons.json",
        text="plan/plan.md",
        memory="plan/memory.svg",
    log:
        "logs/configure.log",
    conda:
        "../../envs/train.yaml"
    params:
        code=list_code("configure"),
        settings=section("configure"),
        hardware=section("hardware"),
        trained=part_of_section("finetune", TrainedWeightsSettings),
        files=user_files("configure"),
        folder=subpath(output.plan, parent=True),
    message:
        "Writing the DeepSpeed config"
    shell:
        "brought_back configure 2>{log:q} ||"
        " python -m retune configure --settings {params.settings:q}"
        " --hardware {params.hardware:q} --trained {params.trained:q}"
        " --base {input.base:q} --token-metrics {input.token_metrics:q}"
        " --plan {params.folder:q} 2>{log:q}"


rule finetune:
    input:
        base="models/base",
        tokens="data/tokens",
        deepspeed="plan/deepspeed.json",
        plan="plan/plan.json",
    output:
        checkpoint=directory("results/finetune/checkpoint"),
        history="results/finetune/history.csv",
        validation="results/finetune/validation.csv",
        provenance="results/finetune/provenance.json",
        operations="results/finetune/operations.json",
        metrics="metrics/finetune.json",
    log:
        "logs/finetune.log",
    benchmark:
        "benchmarks/finetune.tsv"
    conda:
        "../../envs/train.yaml"
    threads: cpus_of_finetune()
    resources:
        **finetune_resources(),
        operational=operational("finetune"),
        # Among the resources: where a disk is mounted decides nothing of the result.
        nvme_path=PARAMS.hardware.nvme_path or "",
    params:
        code=list_code("finetune"),
        settings=section("finetune"),
        plan=subpath(input.plan, parent=True),
    message:
        "Fine-tuning with DeepSpeed"
    # exec: a signal to the job's processes must not end a shell around the step while
    # that saves. state/ is nobody's output: Snakemake deletes the outputs of a failed job, and the
    # checkpoints in it are what the next try resumes from. `=`: Snakemake quotes no empty
    # text, so without it an empty path would be no argument.
    shell:
        "brought_back finetune 2>{log:q} ||"
        " exec python -m retune finetune --settings {params.settings:q}"
        " --operational {resources.operational:q}"
        " --nvme-path={resources.nvme_path:q}"
        " --base {input.base:q} --tokens {input.tokens:q} --plan {params.plan:q}"
        " --state state --checkpoint {output.checkpoint:q}"
        " --history {output.history:q} --validation {output.validation:q}"
        " --provenance {output.provenance:q} --operations {output.operations:q}"
        " --metrics {output.metrics:q} 2>{log:q}"


rule consolidate:
    input:
        base="models/base",
        checkpoint="results/finetune/checkpoint",
    output:
        consolidated=directory("models/consolidated"),
    log:
        "logs/consolidate.log",
    benchmark:
        "benchmarks/consolidate.tsv"
    conda:
        "../../envs/train.yaml"
    resources:
        **estimates(lambda input: join_request(Path(input.base))),
    params:
        code=list_code("consolidate"),
        settings=section("consolidate"),
    message:
        "Joining the checkpoint's shards into one model"
    shell:
        "brought_back consolidate 2>{log:q} ||"
        " python -m retune consolidate --settings {params.settings:q}"
        " --base {input.base:q} --checkpoint {input.checkpoint:q}"
        " --consolidated {output.consolidated:q} 2>{log:q}"
