# The workflow is in workflow/; this stub lets `snakemake` find it from here.
include: "workflow/Snakefile"


# An include drops the default target of what it includes: name it again.
rule default:
    default_target: True
    input:
        rules.all.input,
    localrule: True
