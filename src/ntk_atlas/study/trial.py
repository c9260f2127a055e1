"""Tries data and code of the user's own, in a process of its own: networks are built and evaluated on the user's data.

`start_checks` starts it. A process of its own can be ended when it takes too long, and survives nothing that the user's
code does to it: `sys.exit`, a crash, another folder, output.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.activations import ActivationError, activation
from ntk_atlas.config.predictors import predictors_of, user_kernels
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.datasets.dataset import DataError, Dataset
from ntk_atlas.datasets.draw_checks import check_draws, notices
from ntk_atlas.datasets.draws import make_draw
from ntk_atlas.datasets.read import draw_shares, inspect_dataset, read_dataset
from ntk_atlas.datasets.sources import source_of
from ntk_atlas.families import FamilyError, build_networks
from ntk_atlas.families.fully_connected import fully_connected
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts.row_networks import as_tensor, row_networks
from ntk_atlas.jobs.parts.slice import Row, user_code
from ntk_atlas.kernels import empirical_ntk, infinite_kernels
from ntk_atlas.kernels.user_kernel import UserKernelError, check_user_kernel, load_user_kernel
from ntk_atlas.networks.factories import factory_of
from ntk_atlas.networks.module_checks import FactoryError
from ntk_atlas.networks.notices import GRID_KEYS
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import is_out_of_memory, kept_settings, precise_math
from ntk_atlas.optimizers import OptimizerError, optimizer
from ntk_atlas.parameterizations import ParameterizationError, parameterization
from ntk_atlas.phases import phase_of
from ntk_atlas.registry import is_own
from ntk_atlas.streams import numpy_stream, torch_stream
from ntk_atlas.study.consistency import value_problems
from ntk_atlas.study.estimates import OwnCost
from ntk_atlas.study.start_checks import FIRST_STEP, STEP_MARK
from ntk_atlas.user_code import followed, own_files, told

SAMPLES = 4
_TIMED_SAMPLES = 16
_OF_A_LOOK_UP = ("IndexError", "indices", "one_hot", "scalar type", "dtype")
"""Words of torch's errors about indices that are out of range or no integers."""
_MOST_SAMPLES = 128
_DRAWS = 32
"""Draws of the data that are looked at."""
_MEMORY_SHARE = 0.5
"""Of what is free, that a network tried at the start may take."""


@dataclass(frozen=True)
class Finding:
    """What a trial says: `begins` a step, a `problem` with a key, a `notice`, a `cost`, or that it is `done`."""

    kind: str
    text: str = ""
    key: str = ""
    cost: dict | None = None


def trial(experiment: ExperimentSettings) -> Iterator[Finding]:
    """Reads the data of an experiment, builds its networks at the extreme cells, evaluates them on training samples.

    Args:
        experiment: valid settings.

    Yields:
        Findings, as they are made.
    """
    specs = _specs(experiment)
    # Before the user's code runs, which may change where imports are looked for.
    watched = [place for spec in specs for place in followed(Path(spec.rpartition(":")[0])).values()]
    before = own_files() | {place.resolve() for place in watched}
    yield Finding("begins", FIRST_STEP)
    try:
        dataset, inputs, n_outputs, said = _inputs(experiment)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        yield Finding("problem", str(error) if isinstance(error, DataError) else told(error), "dataset")
        yield from _called_only(experiment)
        return
    yield from said
    if key := _own_key(experiment):
        yield from _guarded(key, _networks(experiment, dataset, inputs, n_outputs), _hint(experiment, dataset))
    if is_own(experiment.training.optimizer):
        yield from _guarded("training.optimizer", _optimizer(experiment.training))
    for key in ("network.parameterization", "training.optimizer"):
        if key in user_code(experiment.network, experiment.training.optimizer):
            yield from _guarded(key, _asked(experiment))
            break
    for kernel in user_kernels(experiment.regression.predictors).values():
        yield from _guarded("regression.predictors", _kernel(kernel, inputs))
    for place in sorted(own_files() - before):
        yield Finding(
            "notice",
            f"{' and '.join(specs)}: {place} is imported by way of sys.path or by a name made at run time, and is not "
            "watched: an edit of it runs nothing again (put it beside the file, or into the working directory)",
        )


def _specs(experiment: ExperimentSettings) -> list[str]:
    """What the user has brought, `my_file.py:function`."""
    code = user_code(experiment.network, experiment.training.optimizer).values()
    source = [experiment.dataset.source] if is_own(experiment.dataset.source) else []
    return [*code, *user_kernels(experiment.regression.predictors).values(), *source]


def _hint(experiment: ExperimentSettings, dataset: Dataset | None) -> str:
    """What may be behind a failure of the user's network: tokens that are no whole numbers any more, or are floats."""
    own = experiment.network.factory is not None and not source_of(experiment.dataset).is_known
    if not own or not (dataset.x == np.rint(dataset.x)).all():
        return ""
    normalization = experiment.dataset.normalization
    if normalization == "none":
        return "; tokens come as floating-point numbers: look them up by x.long()"
    return f"; dataset.normalization: {normalization} has scaled these whole numbers: tokens need `none`, and x.long()"


def _guarded(key: str, part: Iterator[Finding], hint: str = "") -> Iterator[Finding]:
    """The findings of a part of a trial; what it raises is a problem of the key, with a hint if it is of a look-up."""
    step = ""
    try:
        for finding in part:
            step = finding.text if finding.kind == "begins" else step
            yield finding
    except (
        FactoryError,
        FamilyError,
        ActivationError,
        UserKernelError,
        ParameterizationError,
        OptimizerError,
    ) as error:
        looked_up = hint and any(word in str(error) for word in _OF_A_LOOK_UP)
        yield Finding("problem", f"{error}{hint if looked_up else ''}", key)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        yield Finding("problem", f"{step} failed: {told(error)}", key)


def _own_key(experiment: ExperimentSettings) -> str:
    """The first key that names code of the user's networks; empty if they are built in."""
    return next(iter(user_code(experiment.network)), "")


def _inputs(experiment: ExperimentSettings) -> tuple[Dataset | None, np.ndarray, int, list[Finding]]:
    """The data, None if they are not here yet; training inputs of draw 0, normalized; the outputs; notices."""
    settings, source = experiment.dataset, source_of(experiment.dataset)
    if source.is_fetched(settings):
        return _made_up(experiment)
    dataset = replace(read_dataset(settings), shares=draw_shares(experiment))
    if not source.is_known:
        draws = min(experiment.grid.draws, _DRAWS)
        check_draws(dataset, settings, draws=draws, dtype=experiment.training.dtype)
    draw = make_draw(dataset, settings, 0)
    n = min(_MOST_SAMPLES, max(experiment.grid.n_train), len(draw.indices.pool))
    said = [Finding("notice", sentence) for sentence in notices(dataset, settings)]
    return dataset, draw.training_set(n)[0], dataset.y.shape[1], said


def _made_up(experiment: ExperimentSettings) -> tuple[None, np.ndarray, int, list[Finding]]:
    """Normal random images or rows, in place of data that are fetched when the run starts."""
    size = inspect_dataset(experiment.dataset)
    x = numpy_stream("trial").normal(size=(_MOST_SAMPLES, *size.input_shape))
    return None, x, size.n_outputs, []


def _networks(
    experiment: ExperimentSettings, dataset: Dataset | None, inputs: np.ndarray, n_outputs: int
) -> Iterator[Finding]:
    x = as_tensor(inputs[:_TIMED_SAMPLES], experiment.training.dtype)
    factory, (key, code) = experiment.network.factory, next(iter(user_code(experiment.network).items()))
    name = f"{'network factory' if factory else key.removeprefix('network.')} {code!r}"
    own_activation = is_own(experiment.network.activation)
    if factory:
        factory_of(experiment.network)
    else:
        parameterization(experiment.network.parameterization)
    if own_activation:
        activation(experiment.network.activation)
    values = {key: getattr(experiment.grid, key) for key in GRID_KEYS}
    smallest, largest = ({key: choose(values[key]) for key in GRID_KEYS} for choose in (min, max))
    for cell in (smallest, largest) if largest != smallest else (smallest,):
        yield Finding("begins", f"{name}: building and evaluating its network of {_words(cell)}")
        try:
            network = _tried(experiment, dataset, cell, x, n_outputs, name)
            if factory:
                yield Finding("begins", f"{name}: timing its network of {_words(cell)}")
                yield Finding("cost", cost=vars(_cost(network, cell, x)))
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            text = f"{name}: its network of {_words(cell)} does not fit into the memory that is free here: not tried"
            yield Finding("notice", text)
            if cell == smallest:
                return
        network = None
    if own_activation:
        yield Finding("begins", f"{name}: its phase")
        for scale in {smallest["init_scale"], largest["init_scale"]}:
            phase_of(experiment.network, scale)
    if own_activation and predictors_of("infinite", experiment.regression.predictors):
        yield Finding("begins", f"{name}: integrating its kernels of infinite width")
        _infinite(experiment, x[:2])
    if factory:
        yield Finding("begins", f"{name}: comparing its networks at different cells")
        try:
            found = experiment.network.family.notices(experiment.network, values, x[:SAMPLES], n_outputs).sentences
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            found = [f"{name}: some of its networks do not fit into the memory that is free here: cells not compared"]
        for text in found:
            yield Finding("notice", text)


def _infinite(experiment: ExperimentSettings, x: Tensor) -> None:
    """Kernels of infinite width of the deepest fully connected networks of an activation.

    Raises:
        ActivationError: if they are not finite.
    """
    grid = experiment.grid
    for scale in {min(grid.init_scale), max(grid.init_scale)}:
        kernels = infinite_kernels(
            x.to(torch.float64).flatten(1),
            depths=[max(grid.depth)],
            settings=fully_connected.of(experiment.network),
            init_scale=scale,
            width=max(grid.width),
        )
        if not torch.isfinite(kernels.ntk).all():
            raise ActivationError(
                f"activation {experiment.network.activation!r}: its infinite-width NTK is not finite at depth "
                f"{max(grid.depth)}, init_scale {scale:g}"
            )


def _optimizer(settings: TrainingSettings) -> Iterator[Finding]:
    """Two steps of a stack, which must be those of its members alone.

    Raises:
        OptimizerError: if they are not, or not finite.
    """
    name = f"optimizer {settings.optimizer!r}"
    yield Finding("begins", f"{name}: taking two steps of small networks")
    value = optimizer(settings.optimizer)
    start = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))

    def steps(weights: Tensor) -> Tensor:
        weights = torch.nn.Parameter(weights.clone())
        stepping = value.make([{"params": [weights], "lr": 0.1}], momentum=settings.momentum, fused=False)
        for _ in range(2):
            stepping.zero_grad()
            (weights**2 + weights**3).sum().backward()
            stepping.step()
        return weights.detach()

    together = steps(start)
    alone = torch.cat([steps(member[None]) for member in start])
    if not torch.isfinite(together).all():
        raise OptimizerError(f"{name}: its weights are not finite after two steps at rate 0.1")
    if not torch.allclose(together, alone, rtol=1e-5):
        raise OptimizerError(
            f"{name} mixes the networks of a stack: update each entry from its own gradient, by no norm of a tensor"
        )
    if torch.equal(together, start):
        raise OptimizerError(f"{name} does not move the weights: set group['lr'] times a direction in `step`")


def _asked(experiment: ExperimentSettings) -> Iterator[Finding]:
    """What the user's parameterization and optimizer cannot give the experiment."""
    yield from (Finding("problem", text, key) for key, text in value_problems(experiment, own=True))


def _kernel(spec: str, inputs: np.ndarray) -> Iterator[Finding]:
    yield Finding("begins", f"kernel {spec!r}: evaluating it on {len(inputs)} training samples")
    check_user_kernel(load_user_kernel(spec), as_tensor(inputs))


def _called_only(experiment: ExperimentSettings) -> Iterator[Finding]:
    """What can be said of code whose data cannot be read: whether it can be loaded, and called for a network."""
    network, grid = experiment.network, experiment.grid
    try:
        if network.factory is not None:
            size = inspect_dataset(experiment.dataset)
            factory_of(network)(
                **{key: min(getattr(grid, key)) for key in GRID_KEYS},
                input_shape=size.input_shape,
                n_outputs=size.n_outputs or 2,
                generator=torch.Generator().manual_seed(0),
            )
        else:
            parameterization(network.parameterization)
            if is_own(network.activation):
                activation(network.activation)
    except DataError:
        pass
    except ValueError as error:
        yield Finding("problem", str(error), _own_key(experiment))
    for kernel in user_kernels(experiment.regression.predictors).values():
        try:
            load_user_kernel(kernel)
        except ValueError as error:
            yield Finding("problem", str(error), "regression.predictors")


def _tried(
    experiment: ExperimentSettings, dataset: Dataset | None, cell: dict, x: Tensor, n_outputs: int, name: str
) -> StackedNetwork:
    """Two seeds of a cell (of weights from a file, one), whose outputs and gradients are finite on the samples.

    Raises:
        FactoryError: with the cell, if they are not, or the network cannot be built.
    """
    row = Row(cell["depth"], cell["width"], (cell["init_scale"],))
    seeds = (0,) if experiment.network.initial_state is not None and experiment.grid.seeds == 1 else (0, 1)
    try:
        if dataset is not None:
            network = row_networks(job_slice("train_networks", experiment, row.name), dataset, 0, seeds)
        else:
            generators = [torch_stream("trial", seed) for seed in seeds]
            shapes = {"input_shape": x.shape[1:], "n_outputs": n_outputs}
            samples = x[:SAMPLES].to(torch.float64)
            network = build_networks(
                experiment.network, **cell, **shapes, generators=generators, dtype=x.dtype, samples=samples
            )
        outputs = network(x[:SAMPLES])
        trained = [p for p in network.parameters() if p.requires_grad]
        outputs.square().sum().backward()  # as in training
        gradients = [p.grad for p in trained]
        network.zero_grad()
    except ValueError as error:
        words = str(error) if name in str(error) else f"{name}: {told(error)}"
        raise FactoryError(f"{words} [at {_words(cell)}]") from error
    for quantity, tensors in (("outputs", [outputs]), ("gradients", gradients)):
        if not all(torch.isfinite(t.to_dense()).all() for t in tensors if t is not None):
            raise FactoryError(
                f"{name}: its {quantity} on {SAMPLES} training samples are not finite [at {_words(cell)}]"
            )
    return network


def _is_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _cost(network: StackedNetwork, cell: dict, x: Tensor) -> OwnCost:
    """Measured once, in CPU time: a step of both members, and Jacobians of one."""

    def step() -> None:
        network(x).square().sum().backward()
        network.zero_grad()

    member = network.member(0)
    n_kernel = min(len(x), 8)
    step_seconds = _cpu_seconds(step)
    kernel_seconds = _cpu_seconds(lambda: empirical_ntk(member, x[:n_kernel]))
    parameters = sum(p[place].numel() for p, place in network.parameters_of([0]) if p.requires_grad)
    return OwnCost(
        depth=cell["depth"],
        width=cell["width"],
        parameters=parameters,
        step_seconds=step_seconds / (network.n_members * len(x)),
        kernel_seconds=kernel_seconds / n_kernel,
    )


def _cpu_seconds(work) -> float:
    best, spent = float("inf"), 0.0
    for _ in range(3):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
        spent += time.process_time() - started
        if spent > 1.0:
            break
    return best


def _words(cell: dict) -> str:
    return f"depth {cell['depth']}, width {cell['width']}, init_scale {cell['init_scale']:g}"


def _limit_memory() -> None:
    """Half of the free memory at most, so that a trial of a huge network fails and nothing else does."""
    if torch.cuda.is_available():  # which takes addresses for all of its memory
        return
    try:
        import resource

        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(dict(line.split()[:2] for line in lines)["MemAvailable:"])
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(_MEMORY_SHARE * free), resource.RLIM_INFINITY))
    except (ImportError, OSError, ValueError, KeyError):  # another system: no limit
        return


def _end_with_the_parent() -> None:
    """Ends this process when its input ends; the user's code has an input without anything in it."""
    watched, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    threading.Thread(target=lambda: (os.read(watched, 1), os._exit(1)), daemon=True).start()


def main() -> None:
    """Reads experiments, a line of JSON, from standard input; writes findings, a line each, to the descriptor named."""
    results = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    experiments = json.loads(sys.stdin.readline())
    _end_with_the_parent()
    _limit_memory()
    for name, settings in experiments.items():
        with precise_math(threads=1), kept_settings():
            for finding in trial(ExperimentSettings.model_validate_json(json.dumps(settings))):
                if finding.kind == "begins":
                    sys.stderr.flush()
                    os.write(2, STEP_MARK)
                results.write(json.dumps({"experiment": name, **vars(finding)}) + "\n")
        results.write(json.dumps({"experiment": name, "kind": "done"}) + "\n")
    results.close()
    os._exit(0)  # whatever threads the user's code has started


if __name__ == "__main__":
    main()
