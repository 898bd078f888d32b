# Evaluation and report: base against tuned on the same bytes, told to people.
# In: models/base, models/consolidated, data/clean. Out: metrics, report, models/tuned.
import json


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
        **gpus("baseline", min(1, gpus_per_node())),
        **estimates(evaluation_request("base")),
    params:
        code=hash_code("baseline"),
        settings=section("evaluate"),
        accelerator=PARAMS.hardware.accelerator,
    message:
        "Evaluating the base model"
    shell:
        "brought_back baseline 2>{log:q} ||"
        " python -m retune baseline --settings {params.settings:q}"
        " --accelerator {params.accelerator:q}"
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
        **gpus("evaluate", min(1, gpus_per_node())),
        **estimates(evaluation_request("consolidated")),
    params:
        code=hash_code("evaluate"),
        settings=section("evaluate"),
        accelerator=PARAMS.hardware.accelerator,
    message:
        "Evaluating the tuned model"
    shell:
        "brought_back evaluate 2>{log:q} ||"
        " python -m retune evaluate --settings {params.settings:q}"
        " --accelerator {params.accelerator:q}"
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
        validation="results/finetune/validation.csv",
        finetune_metrics="metrics/finetune.json",
        consolidated="models/consolidated",
        baseline_metrics="metrics/baseline.json",
        baseline_documents="results/baseline/documents.parquet",
        tuned_documents="results/evaluate/documents.parquet",
        evaluation="metrics/evaluation.json",
        samples="results/evaluate/samples.json",
        provenance="results/finetune/provenance.json",
        code=code("report"),
    output:
        # A file stands for the folder: into folders Snakemake puts a file of its own.
        card="models/tuned/README.md",
        page=report(
            "report.html",
            caption="../report/page.rst",
            category="Page",
            labels={"result": "page: all of it"},
        ),
        # One label each: the report turns some second labels into a switch and then
        # shows an empty page where a result lacks its counterpart.
        bits_per_byte=report(
            "report/bits_per_byte.svg",
            caption="../report/bits_per_byte.rst",
            category="Evaluation",
            labels={"result": "figure: bits per byte"},
        ),
        documents=report(
            "report/documents.svg",
            caption="../report/documents.rst",
            category="Evaluation",
            labels={"result": "figure: each test document"},
        ),
        loss=report(
            "report/loss.svg",
            caption="../report/loss.rst",
            category="Training",
            labels={"result": "figure: loss"},
        ),
        optimization=report(
            "report/optimization.svg",
            caption="../report/optimization.rst",
            category="Training",
            labels={"result": "figure: learning rate, gradients, speed"},
        ),
        data_figure=report(
            "report/data.svg",
            caption="../report/data_figure.rst",
            category="Data",
            labels={"result": "figure: what became of the documents"},
        ),
    log:
        "logs/report.log",
    conda:
        "../../envs/report.yaml"
    params:
        code=hash_code("report"),
        # For the model card; whatever changes them reruns this step anyway.
        settings=lambda wildcards: json.dumps(PARAMS.model_dump(mode="json")),
        tuned=subpath(output.card, parent=True),
        figures=subpath(output.loss, parent=True),
    message:
        "Writing the report and the model card"
    shell:
        "brought_back report 2>{log:q} ||"
        " python -m retune report --settings {params.settings:q}"
        " --raw {input.raw:q} --base {input.base:q}"
        " --data-metrics {input.data_metrics:q}"
        " --token-metrics {input.token_metrics:q} --plan {input.plan:q}"
        " --history {input.history:q} --validation {input.validation:q}"
        " --finetune-metrics {input.finetune_metrics:q}"
        " --consolidated {input.consolidated:q}"
        " --baseline-metrics {input.baseline_metrics:q}"
        " --baseline-documents {input.baseline_documents:q}"
        " --tuned-documents {input.tuned_documents:q}"
        " --evaluation {input.evaluation:q} --samples {input.samples:q}"
        " --provenance {input.provenance:q}"
        " --tuned {params.tuned:q} --figures {params.figures:q}"
        " --page {output.page:q} 2>{log:q}"
