# Data: fetched once, read, checked and stored; draws (splits, nested subsets) are pure functions of this file and the spec.
# Fetched where the run was started: nodes of a cluster often have no connection.
localrules:
    fetch_mnist,
    fetch_fashion_mnist,
    fetch_cifar10,
    fetch_california,


rule fetch_mnist:
    output:
        fetched_files("mnist"),
    log:
        "logs/fetch_mnist.log",
    priority: 100
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        images="mnist",
        source=source("fetch_images.py"),
    message:
        "fetching MNIST into resources/mnist, once"
    script:
        "../scripts/fetch_images.py"


rule fetch_fashion_mnist:
    output:
        fetched_files("fashion_mnist"),
    log:
        "logs/fetch_fashion_mnist.log",
    priority: 100
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        images="fashion_mnist",
        source=source("fetch_images.py"),
    message:
        "fetching Fashion-MNIST into resources/fashion_mnist, once"
    script:
        "../scripts/fetch_images.py"


rule fetch_cifar10:
    output:
        fetched_files("cifar10"),
    log:
        "logs/fetch_cifar10.log",
    priority: 100
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        images="cifar10",
        source=source("fetch_images.py"),
    message:
        "fetching CIFAR-10 into resources/cifar10, once"
    script:
        "../scripts/fetch_images.py"


rule fetch_california:
    output:
        fetched_files("california"),
    log:
        "logs/fetch_california.log",
    priority: 100
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        images="california",
        source=source("fetch_images.py"),
    message:
        "fetching California housing into resources/california, once"
    script:
        "../scripts/fetch_images.py"


rule prepare_dataset:
    input:
        files=data_files,
    output:
        dataset="results/{experiment}/dataset.nc",
    log:
        "logs/{experiment}/prepare_dataset.log",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        spec=spec(prepare_spec),
        source=source("prepare_dataset.py", prepare_spec),
    message:
        "{wildcards.experiment}: reading and checking the data"
    script:
        "../scripts/prepare_dataset.py"
