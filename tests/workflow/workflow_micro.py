"""The smallest study that has every stage; two experiments, so that one can change without the other."""

FIGURES = [
    "learning_curves", "scaling_exponents", "error_map", "kernel_drift", "kernel_alignment", "kernel_spectra"
]  # fmt: skip
"""Of experiment two, which has two sizes only, the last four."""

MICRO = {
    "experiments": {
        "one": {
            "dataset": {"source": "digits", "task": "binary", "n_validation": 32, "n_test": 48},
            "grid": {
                "depth": [1],
                "width": [4, 8],
                "init_scale": [2.0],
                "n_train": [8, 16, 32],
                "draws": 2,
                "seeds": 2,
            },
            "network": {"activation": "relu", "parameterization": "ntk", "bias_variance": 0.1},
            "training": {
                "optimizer": "sgd",
                "learning_rate": {"relative": 0.5},
                "max_epochs": 4,
                "seeds_per_unit": 2,
                "checkpoints": {"epochs": [0, 1, 4], "n_probe": 6},
            },
            "regression": {
                "predictors": ["ntk_init", "ntk_final", "infinite_ntk", "laplace"],
                "ridge_grid": [0.01, 1.0],
                "length_scales": [1.0, 4.0],
            },
            "show": FIGURES,
        },
        "two": {
            "dataset": {"source": "diabetes", "n_validation": 32, "n_test": 48},
            "grid": {"depth": [1], "width": [4], "init_scale": [2.0], "n_train": [8, 16], "draws": 2, "seeds": 2},
            "training": {
                "optimizer": "momentum",
                "learning_rate": {"relative": 0.3},
                "max_epochs": 3,
                "seeds_per_unit": 2,
                "checkpoints": {"epochs": [0, 3], "n_probe": 6},
            },
            "regression": {"predictors": ["ntk_init"], "ridge_grid": [0.01, 1.0]},
            "show": FIGURES,
        },
    },
    "figures": {"dpi": 50},
}
