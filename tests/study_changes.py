"""A study with a job of every rule, and another value of each key of its config."""

import copy

from ntk_atlas.config import StudySettings

PREDICTORS = ["linearized", "ntk_init", "ntk_final", "ntk_epochs", "infinite_ntk", "laplace", "rbf"]
WIDE = {"depth": [1, 2], "width": [4, 8]}
BASE = {
    "experiments": {
        "one": {
            "dataset": {"source": "digits", "task": "binary", "n_validation": 64, "n_test": 96},
            "grid": {**WIDE, "init_scale": [1.0, 2.0], "n_train": [8, 16, 32], "draws": 3, "seeds": 8},
            "network": {"activation": "relu", "bias_variance": 0.1},
            "training": {"checkpoints": {"epochs": "log", "n_log": 4}},
            "regression": {"predictors": PREDICTORS, "keep_predictions": True},
            "dispersion": {"depth": [2], "width": [4]},
            "output_variance": {},
            "kernel_variants": {"depth": [1], "width": [4, 8]},
            "show": ["error_map"],
        },
    },
    "claims": "thresholds.yaml",
}
"""A study that has a job of every rule."""
OTHERS = {
    "only": ["one"],
    "experiments": {"one": BASE["experiments"]["one"], "two": BASE["experiments"]["one"]},
    "claims": "others.yaml",
    "regimes": "regimes.yaml",
    "preset": "small",
    "presets": {"small": {}},
    "variant_of": "two",
    "max_failed_share": 0.5,
    "show": ["error_map", "kernel_drift"],
    "grid.depth": [1, 2, 3],
    "grid.width": [4, 8, 16],
    "grid.init_scale": [1.0, 2.0, 3.0],
    "grid.n_train": [8, 16, 24, 32],
    "grid.draws": 4,  # of eight shares, one more: draws keep their samples
    "dataset.draw_samples": "overlapping",
    "network.factory": "net.py:build",
    "network.initial_state": "weights.pt",
    "network.trainable": ["head.*"],
    "network.architecture": "convolutional",
    "network.activation": "tanh",
    "network.parameterization": "ntk",
    "network.convolutional.readout": "flatten",
    "network.convolutional.channels": [2],
    "training.loss": "cross_entropy",
    "training.optimizer": "sgd",
    "training.learning_rate.relative": [0.2, 0.4],
    "training.learning_rate.of": "infinite_ntk",
    "training.schedule": "cosine",
    "training.batch_size": 4,
    "training.initial_output": "subtract",
    "training.target_scale": "initial_output",
    "training.selection": "best_validation",
    "training.dtype": "float64",
    "training.checkpoints.epochs": "every",
    "training.checkpoints.probe": "test",
    "training.checkpoints.weights": "scheduled",
    "regression.select_ridge": "leave_one_out",
    "regression.solver": "iterative",
    "regression.predictors": [*PREDICTORS[1:], "matern_3_2", "ntk_pretrained_8", "nngp"],
    "regression.predictor_center": "both",
    "regression.epoch_n_train": "all",
    "regression.kernel_dtype": "float32",
    "scaling.metric": "error",
    "scaling.ridge": "zero",
    "dispersion.correlations": [1.0, 0.3],
    "figures.palette": "viridis",
    "figures.context": "paper",
}
"""Another value of the keys whose values are no plain numbers."""


OF_OWN_NETWORKS = ("network.factory", "network.initial_state", "network.trainable")


def another(key, value):
    """Another value of a key: from the list above, or a number beside the present one."""
    if key in OTHERS:
        return OTHERS[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 2
    if isinstance(value, float):
        return value * 0.9 if value else 0.5
    if isinstance(value, list | tuple):
        return [*value, 3 * max(value)]
    return 50  # None by default


def changed_config(base, key, value):
    """The config in which one key has another value; the key's experiment is `one`."""
    config = copy.deepcopy(base)
    root = key.split(".")[0] in StudySettings.model_fields
    section = config if root else config["experiments"]["one"]
    *path, last = key.split(".")
    for part in path:
        section = section.setdefault(part, {})
    section[last] = value
    if key in OF_OWN_NETWORKS:
        config["experiments"]["one"]["network"] = {"factory": "net.py:build", last: value}
    if key == "training.learning_rate.absolute":
        section.pop("relative", None)
    elif path[-1:] == ["learning_rate"]:
        section.setdefault("relative", 0.5)
    if path[-1:] == ["convolutional"]:
        config["experiments"]["one"]["network"]["architecture"] = "convolutional"
    return config
