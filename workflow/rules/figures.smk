# Figures are drawn from the experiment's NetCDF files alone: they redraw in seconds and never train anything.


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
    benchmark:
        "results/{experiment}/costs/plot_figure/{figure}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        spec=spec("plot_figure"),
        figure=figure_of,
        caption=lambda wildcards: FIGURES.head(figure_of(wildcards)).caption,
        source=figure_source,
        own=lambda wildcards: own_code([figure_of(wildcards)]),
        script_source=source("plot_figure.py"),
    message:
        "{wildcards.experiment}: drawing {wildcards.figure}"
    script:
        "../scripts/plot_figure.py"
