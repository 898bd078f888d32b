# Data and base model: what is brought here, and what training reads.
# In: the dataset and model sections of params.yaml.
# Out: data/raw, models/base, data/clean, data/tokens.


rule download:
    output:
        raw=directory("data/raw"),
    log:
        "logs/download.log",
    benchmark:
        "benchmarks/download.tsv"
    localrule: runs_here("download")
    conda:
        "../../envs/data.yaml"
    params:
        code=list_code("download"),
        settings=section("dataset"),
        files=user_files("dataset"),
    message:
        "Bringing the dataset here"
    shell:
        "brought_back download 2>{log:q} ||"
        " python -m retune download --settings {params.settings:q} --raw {output.raw:q}"
        " 2>{log:q}"


rule fetch:
    output:
        base=directory("models/base"),
    log:
        "logs/fetch.log",
    benchmark:
        "benchmarks/fetch.tsv"
    localrule: runs_here("fetch")
    conda:
        "../../envs/train.yaml"
    params:
        code=list_code("fetch"),
        settings=section("model"),
        files=user_files("model"),
    message:
        "Bringing the base model here"
    shell:
        "brought_back fetch 2>{log:q} ||"
        " python -m retune fetch --settings {params.settings:q} --base {output.base:q}"
        " 2>{log:q}"


rule prepare:
    input:
        raw="data/raw",
    output:
        clean=directory("data/clean"),
        metrics="metrics/data.json",
    log:
        "logs/prepare.log",
    benchmark:
        "benchmarks/prepare.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        **estimates(lambda input: data_request(Path(input.raw))),
    params:
        code=list_code("prepare"),
        settings=section("prepare"),
    message:
        "Validating, deduplicating and splitting the text"
    shell:
        "brought_back prepare 2>{log:q} ||"
        " python -m retune prepare --settings {params.settings:q} --raw {input.raw:q}"
        " --clean {output.clean:q} --metrics {output.metrics:q} 2>{log:q}"


rule tokenize:
    input:
        clean="data/clean",
        base="models/base",
    output:
        tokens=directory("data/tokens"),
        metrics="metrics/tokens.json",
    log:
        "logs/tokenize.log",
    benchmark:
        "benchmarks/tokenize.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        **estimates(lambda input: data_request(Path(input.clean))),
    params:
        code=list_code("tokenize"),
        settings=section("tokenize"),
    message:
        "Turning the text into tokens"
    shell:
        "brought_back tokenize 2>{log:q} ||"
        " python -m retune tokenize --settings {params.settings:q}"
        " --clean {input.clean:q} --base {input.base:q} --tokens {output.tokens:q}"
        " --metrics {output.metrics:q} 2>{log:q}"
