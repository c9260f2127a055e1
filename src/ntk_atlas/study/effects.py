"""What runs again when a key of the config is changed: the table of `config/README.md`, held to the workflow by tests.

A job runs again when its own spec changes or what it is made of is new. So a row of the table names the rules whose
specs have the key, and `rules_after` adds what is made of their results.
"""

from collections.abc import Iterable
from dataclasses import dataclass

MADE_OF = {
    "prepare_dataset": (),
    "train_networks": ("prepare_dataset",),
    "linearize_networks": ("prepare_dataset", "train_networks"),
    "regress_empirical": ("prepare_dataset", "train_networks"),
    "regress_infinite": ("prepare_dataset",),
    "regress_rivals": ("prepare_dataset",),
    "compare_variants": ("prepare_dataset",),
    "predict_output_variance": ("prepare_dataset",),
    "sample_initial_kernels": (),
    "assemble_cube": (
        "prepare_dataset", "train_networks", "linearize_networks", "regress_empirical", "regress_infinite",
        "regress_rivals",
    ),
    "assemble_functions": (
        "prepare_dataset", "train_networks", "linearize_networks", "regress_empirical", "regress_infinite",
        "regress_rivals",
    ),
    "assemble_dispersion": ("sample_initial_kernels",),
    "assemble_output_variance": (
        "prepare_dataset", "train_networks", "linearize_networks", "predict_output_variance",
    ),
    "fit_scaling_laws": ("assemble_cube",),
    "map_regimes": ("assemble_cube", "assemble_functions"),
    "summarize_cube": ("assemble_cube",),
    "plot_figure": (
        "assemble_cube", "assemble_functions", "map_regimes", "fit_scaling_laws", "assemble_dispersion",
        "assemble_output_variance",
    ),
    "judge_claims": (
        "assemble_cube", "assemble_functions", "assemble_dispersion", "assemble_output_variance", "compare_variants",
    ),
    "plot_claims": ("judge_claims",),
    "join_claims": ("judge_claims",),
    "compare_layer_changes": ("assemble_cube",),
    "tabulate_costs": (
        "assemble_cube", "fit_scaling_laws", "assemble_functions", "assemble_dispersion", "assemble_output_variance",
        "compare_variants", "map_regimes",
    ),
}  # fmt: skip
"""The rules, and those whose results each is made of."""


@dataclass(frozen=True)
class Effect:
    """A row of the table.

    Attributes:
        keys: of the config; those of an experiment without `experiments.<name>`, `x.*` for all keys of a section.
        rules: whose specs have the keys; what is made of their results runs after them.
        note: what is kept all the same, and what else is to be known.
    """

    keys: tuple[str, ...]
    rules: tuple[str, ...]
    note: str = ""


_JOINS = ("assemble_cube", "assemble_functions", "assemble_output_variance")
_OF_THEORY_TOO = (
    "training.optimizer", "training.momentum", "training.learning_rate.*", "training.max_epochs", "training.min_steps",
    "training.target_scale", "training.checkpoints.epochs", "training.checkpoints.n_log",
    "training.checkpoints.n_probe", "training.checkpoints.probe",
)  # fmt: skip

EFFECTS = (
    Effect(("experiments",), ("prepare_dataset", "sample_initial_kernels"), "of the new experiment only"),
    Effect(
        ("dataset.side", "dataset.dimension"),
        ("prepare_dataset", "sample_initial_kernels"),
        "nothing of that experiment is kept; untrained networks are, if `dispersion.n_inputs` is set",
    ),
    Effect(("dataset.*",), ("prepare_dataset", "assemble_dispersion"), "nothing of that experiment is kept"),
    Effect(
        ("grid.n_train", "grid.draws"),
        ("train_networks", "regress_infinite", "regress_rivals", "predict_output_variance", "assemble_dispersion"),
        "only new units train; kernels before training, infinite ones and rivals regress at all sizes again; where "
        "draws get other samples (docs/conventions.md), all but `sample_initial_kernels` runs and nothing is kept",
    ),
    Effect(("grid.seeds",), ("train_networks", "assemble_dispersion"), "only the new seeds train and regress"),
    Effect(
        ("grid.depth", "grid.width"),
        ("train_networks", "regress_infinite", "predict_output_variance", "assemble_dispersion"),
        "only new rows train and regress; the width matters to infinite kernels in the standard parameterization only",
    ),
    Effect(
        ("grid.init_scale",),
        (
            "train_networks",
            "regress_infinite",
            "predict_output_variance",
            "sample_initial_kernels",
            "compare_variants",
        ),
        "only new rows train and regress, only new init scales are sampled",
    ),
    Effect(
        ("network.*",),
        (
            "train_networks",
            "regress_infinite",
            "predict_output_variance",
            "sample_initial_kernels",
            "compare_variants",
        ),
        "data and rivals are kept",
    ),
    Effect(_OF_THEORY_TOO, ("train_networks", "predict_output_variance"), "kernels before training are kept"),
    Effect(
        ("training.*", "training.checkpoints.*"),
        ("train_networks",),
        "kernels before training are kept, but with another `seed` or `dtype`",
    ),
    Effect(
        ("training.seeds_per_unit", "training.target_mse", "training.max_seconds"),
        ("train_networks",),
        "rows are joined anew; nothing trains but what was stopped by a lower `max_seconds`",
    ),
    Effect(
        (
            "regression.ridge_grid",
            "regression.select_ridge",
            "regression.jitter",
            "regression.keep_predictions",
            "regression.solver",
        ),
        ("regress_empirical", "regress_infinite", "regress_rivals", *_JOINS),
        "nothing trains",
    ),
    Effect(("regression.solver_memory_mb",), _JOINS, "kernels regress anew where `solver: auto` picks another one"),
    Effect(("regression.length_scales",), ("regress_rivals", *_JOINS)),
    Effect(
        ("regression.predictors",),
        ("regress_empirical", "regress_infinite", "regress_rivals", "linearize_networks", *_JOINS),
        "only the job that makes the new predictor; its finished units are kept",
    ),
    Effect(
        ("regression.predictor_center", "regression.epoch_n_train", "regression.kernel_dtype"),
        ("regress_empirical", *_JOINS),
    ),
    Effect(
        ("scaling.*",),
        ("fit_scaling_laws", *_JOINS),
        "files that record the whole config are joined anew, in seconds",
    ),
    Effect(("movement.*", "max_failed_share", "variant_of"), _JOINS),
    Effect(("dispersion.*",), ("sample_initial_kernels",), "chunks of networks are kept where they are the same"),
    Effect(("output_variance.*",), ("assemble_output_variance",)),
    Effect(("kernel_variants.*",), ("compare_variants",)),
    Effect(("regimes",), ("map_regimes",), "the file's contents count, not its comments"),
    Effect(("show",), ("plot_figure",), "only figures that are not there yet"),
    Effect(("figures.*",), ("plot_figure", "plot_claims", "compare_layer_changes")),
    Effect(
        ("jobs.init_scales_per_job",), ("train_networks",), "rows are joined anew, nothing trains or regresses again"
    ),
    Effect(("jobs.rivals_per_job",), ("regress_rivals",)),
    Effect(("jobs.memory_limit_mb", "jobs.save_training_seconds", "jobs.allow_huge"), ()),
    Effect(
        ("claims",),
        ("assemble_cube", "judge_claims", "compare_layer_changes"),
        "the file's contents count, not its comments",
    ),
    Effect(
        ("only", "preset", "presets"),
        (),
        "whatever the keys that a preset lays over the config say; results of experiments that are left out stay",
    ),
)
"""The table; a key that a row names comes before a row that names its section."""


def rules_after(rules: Iterable[str]) -> frozenset[str]:
    """The rules, and all that are made of their results, directly or through others."""
    found = set(rules)
    for rule, parts in MADE_OF.items():  # in an order in which parts come first
        if found.intersection(parts):
            found.add(rule)
    return frozenset(found)


def rules_before(rule: str) -> frozenset[str]:
    """All rules whose results a rule's own are made of, directly or through others."""
    found = frozenset(MADE_OF[rule])
    return found.union(*map(rules_before, found))


def effect_of(key: str) -> Effect | None:
    """The row of a key; None if there is none."""
    exact = [effect for effect in EFFECTS if key in effect.keys]
    section = [effect for effect in EFFECTS if any(_is_in(key, pattern) for pattern in effect.keys)]
    return next(iter(exact or section), None)


def _is_in(key: str, pattern: str) -> bool:
    return pattern.endswith(".*") and key.startswith(pattern.removesuffix("*"))


def effects_markdown() -> str:
    """The table in Markdown."""
    lines = ["| you change | these rules run, and what is made of their results | |", "| --- | --- | --- |"]
    for effect in EFFECTS:
        keys = ", ".join(f"`{key}`" for key in effect.keys)
        rules = ", ".join(f"`{rule}`" for rule in effect.rules)
        lines.append(f"| {keys} | {rules or 'none'} | {effect.note} |")
    return "\n".join(lines) + "\n"
