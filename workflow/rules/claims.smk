# Claims are judged from the experiment's NetCDF files and a file of thresholds; included where the study names one.
from ntk_atlas.config.thresholds import CLAIMS, claim_head

GIVEN_CLAIMS = [
    claim_head(key).name for key in load_thresholds(Path(STUDY.claims)).claims.by_name()
]


def claims_source(script, rule=None):
    """As `source`, with the files of the claims that are judged: built-in ones, and the user's."""
    files = [
        Path(name.rpartition(":")[0]) if is_own(name) else CLAIMS.module_file(name)
        for name in GIVEN_CLAIMS
    ]

    def of(wildcards):
        values = value_files(job_slice(rule, wildcards)) if rule else ()
        file = WORKFLOW / "workflow" / "scripts" / script
        return digest_of(file, (*values, *files))

    return of


localrules:
    plot_claims,
    join_claims,
    compare_layer_changes,


rule judge_claims:
    input:
        unpack(claim_files),
        thresholds=ancient(STUDY.claims),
    output:
        table=report(
            "results/{experiment}/claims.csv",
            caption="../report/claims.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"table": "claims"},
        ),
    log:
        "logs/{experiment}/judge_claims.log",
    benchmark:
        "results/{experiment}/costs/judge_claims/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        thresholds=thresholds_digest(),
        spec=spec("judge_claims"),
        source=claims_source("judge_claims.py", "judge_claims"),
        own=own_code(GIVEN_CLAIMS),
    message:
        "{wildcards.experiment}: judging the claims"
    script:
        "../scripts/judge_claims.py"


rule plot_claims:
    input:
        table="results/{experiment}/claims.csv",
    output:
        svg=report(
            "results/{experiment}/figures/claims.svg",
            caption="../report/claims.rst",
            category="{experiment}",
            subcategory="figures",
            labels={"figure": "claims"},
        ),
        png="results/{experiment}/figures/claims.png",
    log:
        "logs/{experiment}/plot_claims.log",
    benchmark:
        "results/{experiment}/costs/plot_claims/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        spec=spec("plot_claims"),
        source=source("plot_claims.py"),
    message:
        "{wildcards.experiment}: drawing the claims"
    script:
        "../scripts/plot_claims.py"


rule join_claims:
    input:
        tables=[f"results/{name}/claims.csv" for name in EXPERIMENTS],
        thresholds=ancient(STUDY.claims),
    output:
        table=report(
            f"{ALL}/claims.csv",
            caption="../report/claims.rst",
            category="claims",
            labels={"table": "claims, all experiments"},
        ),
    log:
        f"logs/studies/{Path(ALL).name}/join_claims.log",
    benchmark:
        f"{ALL}/costs/join_claims/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        thresholds=thresholds_digest(),
        activations={
            name: experiment.network.factory or experiment.network.activation
            for name, experiment in EXPERIMENTS.items()
        },
        target_scales={
            name: experiment.training.target_scale
            for name, experiment in EXPERIMENTS.items()
        },
        source=claims_source("join_claims.py"),
        own=own_code(GIVEN_CLAIMS),
    message:
        "joining the verdicts of all experiments"
    script:
        "../scripts/join_claims.py"


rule compare_layer_changes:
    input:
        cubes=[f"results/{name}/cube.nc" for name in layer_experiments()],
        thresholds=ancient(STUDY.claims),
    output:
        table=report(
            f"{ALL}/layer_changes.csv",
            caption="../report/layer_changes.rst",
            category="claims",
            labels={"table": "adding a layer, all experiments"},
        ),
        svg=report(
            f"{ALL}/layer_changes.svg",
            caption="../report/layer_changes.rst",
            category="claims",
            labels={"figure": "adding a layer, all experiments"},
        ),
        png=f"{ALL}/layer_changes.png",
    log:
        f"logs/studies/{Path(ALL).name}/compare_layer_changes.log",
    benchmark:
        f"{ALL}/costs/compare_layer_changes/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        thresholds=thresholds_digest(),
        spec=STUDY.figures.canonical_json(),
        experiments=layer_experiments(),
        source=source("compare_layer_changes.py"),
    message:
        "comparing what adding a layer does, in all experiments"
    script:
        "../scripts/compare_layer_changes.py"
