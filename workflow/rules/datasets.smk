# Data: fetched once, read, checked and stored; draws (splits, nested subsets) are pure functions of this file and the spec.


for source_name, official in OFFICIAL.items():

    rule:
        name:
            f"fetch_{official.source}"
        output:
            [str(file) for file in official.cached()],
        log:
            f"logs/fetch_{official.source}.log",
        priority: 100
        # Where the run was started: nodes of a cluster often have no connection.
        localrule: True
        conda:
            CONDA
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            data=source_name,
            source=fetch_source(source_name),
        message:
            f"fetching {official.title} into {CACHE}/{official.source}, once"
        script:
            "../scripts/fetch_data.py"
