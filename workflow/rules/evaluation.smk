# Evaluation, samples, report and the published model: base against tuned on the same bytes.
# In: models/base, models/consolidated, data/clean. Out: metrics, report, models/tuned.
from retune.settings import Params, PrecisionSettings, RunSettings, ScoringSettings


rule baseline:
    input:
        base="models/base",
        clean="data/clean",
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
        **evaluation_resources("baseline", "base"),
        operational=operational("evaluate"),
        ranks_per_node=str(PARAMS.hardware.ranks_per_node),
    params:
        code=list_code("baseline"),
        settings=part_of_section("evaluate", ScoringSettings),
        accelerator=PARAMS.hardware.accelerator,
    message:
        "Evaluating the base model"
    shell:
        "brought_back baseline 2>{log:q} ||"
        " python -m retune baseline --settings {params.settings:q}"
        " --operational {resources.operational:q}"
        " --accelerator {params.accelerator:q}"
        " --ranks-per-node {resources.ranks_per_node:q}"
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
    output:
        documents="results/evaluate/documents.parquet",
        metrics="metrics/evaluation.json",
    log:
        "logs/evaluate.log",
    benchmark:
        "benchmarks/evaluate.tsv"
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **evaluation_resources("evaluate", "consolidated"),
        operational=operational("evaluate"),
        ranks_per_node=str(PARAMS.hardware.ranks_per_node),
    params:
        code=list_code("evaluate"),
        settings=section("evaluate"),
        accelerator=PARAMS.hardware.accelerator,
    message:
        "Evaluating the tuned model"
    shell:
        "brought_back evaluate 2>{log:q} ||"
        " python -m retune evaluate --settings {params.settings:q}"
        " --operational {resources.operational:q}"
        " --accelerator {params.accelerator:q}"
        " --ranks-per-node {resources.ranks_per_node:q}"
        " --consolidated {input.consolidated:q} --base {input.base:q}"
        " --clean {input.clean:q} --tokens {input.tokens:q}"
        " --baseline-documents {input.baseline_documents:q}"
        " --baseline-metrics {input.baseline_metrics:q}"
        " --documents {output.documents:q} --metrics {output.metrics:q} 2>{log:q}"


rule sample:
    input:
        consolidated="models/consolidated",
        base="models/base",
        clean="data/clean",
    output:
        samples="results/sample/samples.json",
    log:
        "logs/sample.log",
    benchmark:
        "benchmarks/sample.tsv"
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **gpus("sample", gpus_per_node()),
        **estimates(request_of_sample),
        ranks_per_node=str(PARAMS.hardware.ranks_per_node),
    params:
        code=list_code("sample"),
        settings=section("sample"),
        precision=part_of_section("evaluate", PrecisionSettings),
        accelerator=PARAMS.hardware.accelerator,
    message:
        "Letting both models continue the prompts"
    shell:
        "brought_back sample 2>{log:q} ||"
        " python -m retune sample --settings {params.settings:q}"
        " --precision {params.precision:q}"
        " --accelerator {params.accelerator:q}"
        " --ranks-per-node {resources.ranks_per_node:q}"
        " --consolidated {input.consolidated:q} --base {input.base:q}"
        " --clean {input.clean:q} --samples {output.samples:q} 2>{log:q}"


rule report:
    input:
        raw="data/raw",
        tokens="data/tokens",
        base="models/base",
        data_metrics="metrics/data.json",
        token_metrics="metrics/tokens.json",
        plan="plan/plan.json",
        reasons="plan/reasons.json",
        history="results/finetune/history.csv",
        validation="results/finetune/validation.csv",
        finetune_metrics="metrics/finetune.json",
        baseline_metrics="metrics/baseline.json",
        baseline_documents="results/baseline/documents.parquet",
        tuned_documents="results/evaluate/documents.parquet",
        evaluation="metrics/evaluation.json",
        samples="results/sample/samples.json",
        provenance="results/finetune/provenance.json",
        operations="results/finetune/operations.json",
    output:
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
        memory=report(
            "report/memory.svg",
            caption="../report/memory.rst",
            category="Training",
            labels={"result": "figure: memory"},
        ),
        data_figure=report(
            "report/data.svg",
            caption="../report/data_figure.rst",
            category="Data",
            labels={"result": "figure: what became of the documents"},
        ),
        lengths=report(
            "report/lengths.svg",
            caption="../report/lengths.rst",
            category="Data",
            labels={"result": "figure: lengths in tokens"},
        ),
    log:
        "logs/report.log",
    conda:
        "../../envs/report.yaml"
    params:
        code=list_code("report"),
        # The page shows them; whatever changes them reruns this step anyway.
        settings=sections_of(Params),
        figures=subpath(output.loss, parent=True),
    message:
        "Writing the report"
    shell:
        "brought_back report 2>{log:q} ||"
        " python -m retune report --settings {params.settings:q}"
        " --raw {input.raw:q} --tokens {input.tokens:q} --base {input.base:q}"
        " --data-metrics {input.data_metrics:q}"
        " --token-metrics {input.token_metrics:q} --plan {input.plan:q}"
        " --reasons {input.reasons:q}"
        " --history {input.history:q} --validation {input.validation:q}"
        " --finetune-metrics {input.finetune_metrics:q}"
        " --baseline-metrics {input.baseline_metrics:q}"
        " --baseline-documents {input.baseline_documents:q}"
        " --tuned-documents {input.tuned_documents:q}"
        " --evaluation {input.evaluation:q} --samples {input.samples:q}"
        " --provenance {input.provenance:q} --operations {input.operations:q}"
        " --figures {params.figures:q} --page {output.page:q} 2>{log:q}"


rule publish:
    input:
        consolidated="models/consolidated",
        raw="data/raw",
        base="models/base",
        data_metrics="metrics/data.json",
        token_metrics="metrics/tokens.json",
        plan="plan/plan.json",
        history="results/finetune/history.csv",
        validation="results/finetune/validation.csv",
        finetune_metrics="metrics/finetune.json",
        evaluation="metrics/evaluation.json",
        samples="results/sample/samples.json",
        provenance="results/finetune/provenance.json",
    output:
        # A file stands for the folder: into folders Snakemake puts a file of its own.
        card="models/tuned/README.md",
    log:
        "logs/publish.log",
    conda:
        "../../envs/report.yaml"
    params:
        code=list_code("publish"),
        # The card shows them; whatever changes them reruns this step anyway.
        settings=sections_of(RunSettings),
        tuned=subpath(output.card, parent=True),
    message:
        "Publishing the tuned model with its card"
    shell:
        "brought_back publish 2>{log:q} ||"
        " python -m retune publish --settings {params.settings:q}"
        " --consolidated {input.consolidated:q}"
        " --raw {input.raw:q} --base {input.base:q}"
        " --data-metrics {input.data_metrics:q}"
        " --token-metrics {input.token_metrics:q} --plan {input.plan:q}"
        " --history {input.history:q} --validation {input.validation:q}"
        " --finetune-metrics {input.finetune_metrics:q}"
        " --evaluation {input.evaluation:q} --samples {input.samples:q}"
        " --provenance {input.provenance:q} --tuned {params.tuned:q} 2>{log:q}"
