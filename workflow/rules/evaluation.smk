# Evaluation and report: base against tuned on the same bytes, told to people.
# In: models/base, models/consolidated, data/clean. Out: metrics, report, models/tuned.


rule baseline:
    input:
        base="models/base",
        clean="data/clean",
        code=code("baseline"),
    output:
        documents="results/baseline/documents.parquet",
        metrics="metrics/baseline.json",
    log:
        "logs/baseline.log",
    benchmark:
        "benchmarks/baseline.tsv"
    conda:
        "../../envs/evaluate.yaml"
    resources:
        gpu=min(1, gpus_per_node()),
    params:
        settings=section("evaluate"),
    message:
        "Evaluating the base model"
    shell:
        "python -m retune baseline --settings {params.settings:q}"
        " --base {input.base:q} --clean {input.clean:q}"
        " --documents {output.documents:q} --metrics {output.metrics:q} 2>{log:q}"


rule evaluate:
    input:
        consolidated="models/consolidated",
        base="models/base",
        clean="data/clean",
        tokens="data/tokens",
        baseline_documents="results/baseline/documents.parquet",
        baseline_metrics="metrics/baseline.json",
        code=code("evaluate"),
    output:
        documents="results/evaluate/documents.parquet",
        samples="results/evaluate/samples.json",
        metrics="metrics/evaluation.json",
    log:
        "logs/evaluate.log",
    benchmark:
        "benchmarks/evaluate.tsv"
    conda:
        "../../envs/evaluate.yaml"
    resources:
        gpu=min(1, gpus_per_node()),
    params:
        settings=section("evaluate"),
    message:
        "Evaluating the tuned model"
    shell:
        "python -m retune evaluate --settings {params.settings:q}"
        " --consolidated {input.consolidated:q} --base {input.base:q}"
        " --clean {input.clean:q} --tokens {input.tokens:q}"
        " --baseline-documents {input.baseline_documents:q}"
        " --baseline-metrics {input.baseline_metrics:q}"
        " --documents {output.documents:q} --samples {output.samples:q}"
        " --metrics {output.metrics:q} 2>{log:q}"


rule report:
    input:
        raw="data/raw",
        base="models/base",
        data_metrics="metrics/data.json",
        token_metrics="metrics/tokens.json",
        plan="plan/plan.json",
        history="results/finetune/history.csv",
        finetune_metrics="metrics/finetune.json",
        consolidated="models/consolidated",
        evaluation="metrics/evaluation.json",
        samples="results/evaluate/samples.json",
        code=code("report"),
    output:
        tuned=directory("models/tuned"),
        loss=report(
            "report/loss.svg",
            caption="../report/loss.rst",
            category="Training",
            labels={"figure": "Loss"},
        ),
    log:
        "logs/report.log",
    conda:
        "../../envs/report.yaml"
    message:
        "Drawing the figures and writing the model card"
    shell:
        "python -m retune report --raw {input.raw:q} --base {input.base:q}"
        " --data-metrics {input.data_metrics:q}"
        " --token-metrics {input.token_metrics:q} --plan {input.plan:q}"
        " --history {input.history:q} --finetune-metrics {input.finetune_metrics:q}"
        " --consolidated {input.consolidated:q} --evaluation {input.evaluation:q}"
        " --samples {input.samples:q} --tuned {output.tuned:q} 2>{log:q}"
