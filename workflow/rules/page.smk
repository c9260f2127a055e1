# The page of the study: findings, maps, cells, claims and experiments, as one file that asks for nothing else.
localrules:
    write_page,


rule write_page:
    input:
        [file for files in page_files().values() for file in files.values()],
        claims=[f"{ALL}/claims.csv"] if STUDY.claims is not None else [],
    output:
        page=report(
            PAGE,
            caption="../report/atlas.rst",
            category="atlas",
            labels={"page": "the atlas: finding, map, cells, claims"},
        ),
    log:
        f"logs/studies/{Path(ALL).name}/write_page.log",
    benchmark:
        f"{ALL}/costs/write_page/all.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        study="default study" if PAGE == page_file([]) else Path(ALL).name,
        files=page_files(),
        spec=STUDY.figures.canonical_json(),
        source=source("write_page.py"),
        parts=page_parts(),
    message:
        "writing the page of the study"
    script:
        "../scripts/write_page.py"
