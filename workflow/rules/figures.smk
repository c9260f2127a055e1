# Figures are drawn from the experiment's NetCDF files alone: they redraw in seconds and never train anything.


from ntk_atlas.study.user_files import code_file_digest


def figure_source(wildcards):
    """Digest of a figure's file, of all that it imports, and of the values that its experiment names."""
    name = figure_of(wildcards)
    values = value_files(cube_spec(EXPERIMENTS[wildcards.experiment]))
    if not is_own(name):
        return digest_of(FIGURES.module_file(name), values)
    file = Path(name.rpartition(":")[0])
    return f"{digest_of(file, values)} {code_file_digest(file)}"


localrules:
    plot_figure,


rule plot_figure:
    input:
        figure_files,
    output:
        svg=report(
            "results/{experiment}/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="{experiment}",
            subcategory="figures",
            labels=lambda wildcards: {"figure": wildcards.figure.replace("_", " ")},
        ),
        png="results/{experiment}/figures/{figure}.png",
    log:
        "logs/{experiment}/plot_figure/{figure}.log",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        spec=STUDY.figures.canonical_json(),
        figure=figure_of,
        caption=lambda wildcards: FIGURES.head(figure_of(wildcards)).caption,
        source=figure_source,
        script_source=source("plot_figure.py"),
    message:
        "{wildcards.experiment}: drawing {wildcards.figure}"
    script:
        "../scripts/plot_figure.py"
