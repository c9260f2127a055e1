"""Rivals that run in the project's own environment: torch.func, torch.linalg, scikit-learn, a plain loop."""

import time

import problems
import torch
from case import Case
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

_JACOBIAN_BYTES = 3 * 2**29


def jacobians_dense(*, output_reduction: str, n: int, n_inputs: int, width: int, depth: int, n_outputs: int) -> Case:
    """Empirical NTK of a fully connected network by per-sample Jacobians."""
    layers = problems.dense_weights(problems.layer_sizes(n_inputs, width, depth, n_outputs))
    modules = []
    for weight, bias in layers:
        linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, nn.ReLU()]
    x = torch.from_numpy(problems.inputs(n, (n_inputs,)))
    return _jacobians(nn.Sequential(*modules[:-1]), x, n_outputs, output_reduction)


def jacobians_convolutional(*, n: int, width: int, n_outputs: int, image: int) -> Case:
    """Empirical NTK of the convolutional network by per-sample Jacobians."""
    from sides.atlas import convolutional_network

    x = torch.from_numpy(problems.inputs(n, (3, image, image)))
    return _jacobians(convolutional_network(width, n_outputs, image), x, n_outputs, "trace")


def _jacobians(network: nn.Module, x: Tensor, n_outputs: int, output_reduction: str) -> Case:
    """The contraction of Jacobians, each computed once.

    Raises:
        ValueError: the Jacobian of all samples does not fit.
    """
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    n_parameters = sum(p.numel() for p in parameters.values())
    if 4 * len(x) * n_outputs * n_parameters > _JACOBIAN_BYTES:
        raise ValueError("the Jacobian of all samples does not fit: in blocks this rival would compute it many times")
    form = {"trace": "ncp,mcp->nm", "full": "ncp,mdp->nmcd"}[output_reduction]

    def output(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(network, parameters, (sample[None],))[0]

    def kernel(x: Tensor) -> Tensor:
        jacobian = vmap(jacrev(output), in_dims=(None, 0))(parameters, x)
        flat = [j.flatten(2) for j in jacobian.values()]
        return sum(torch.einsum(form, j, j) for j in flat)

    return Case(
        run=lambda _: kernel(x),
        arrays=lambda ntk: {"ntk": ntk},
        warm_up=lambda: kernel(x[:2]),
        result_bytes=4 * len(x) ** 2 * (n_outputs**2 if output_reduction == "full" else 1),
    )


def jacobians_of_module(*, name: str, n: int, chunks: list[int], output_reduction: str = "trace") -> Case:
    """Empirical NTK of a network of `modules.py` by per-sample Jacobians, with the chunk of samples that is quickest.

    Where `torch.func.vmap` has no rule for a layer, a loop of `jacrev` over samples.
    """
    from sides.modules import built

    network, x = built(name, n)
    parameters = {key: p.detach() for key, p in network.named_parameters()}

    def output(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(network, parameters, (sample[None],))[0]

    def kernel(x: Tensor, chunk: int | None) -> Tensor:
        if chunk is None:
            rows = [jacrev(output)(parameters, sample) for sample in x]
            jacobian = {key: torch.stack([row[key] for row in rows]) for key in parameters}
        else:
            jacobian = vmap(jacrev(output), (None, 0), chunk_size=chunk)(parameters, x)
        flat = [j.flatten(2) for j in jacobian.values()]
        return sum(torch.einsum("ncp,mcp->nm", j, j) for j in flat)

    def seconds(chunk: int) -> float:
        kernel(x[:2], chunk)
        start = time.perf_counter()
        kernel(x, chunk)
        return time.perf_counter() - start

    try:
        best = chunks[0] if len(chunks) == 1 else min(chunks, key=seconds)
        kernel(x[:2], best)
    except (RuntimeError, NotImplementedError):
        best = None
    return Case(
        run=lambda _: kernel(x, best),
        arrays=lambda ntk: {"ntk": ntk.detach()},
        warm_up=lambda: kernel(x[:2], best),
        result_bytes=4 * n**2,
    )


def _regression(n: int, n_outputs: int, n_test: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.from_numpy(array) for array in problems.kernel_regression(n, n_outputs, n_test))


def _solve(gram: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Returns coefficients and Cholesky factor."""
    shifted = gram.clone()
    shifted.diagonal().add_(ridge)
    lower = torch.linalg.cholesky(shifted)
    return torch.cholesky_solve(y, lower), lower


def cholesky_solve(*, n: int, n_test: int, n_outputs: int) -> Case:
    """Kernel regression as one would write it in torch."""
    gram, y, k_test = _regression(n, n_outputs, n_test)
    ridge = problems.DIAG_REG * float(gram.diagonal().mean())
    return Case(
        run=lambda _: k_test @ _solve(gram, y, ridge)[0],
        arrays=lambda predictions: {"predictions": predictions},
    )


def kernel_ridge(*, n: int, n_test: int, n_outputs: int) -> Case:
    """Kernel regression with scikit-learn."""
    from sklearn.kernel_ridge import KernelRidge

    gram, y, k_test = problems.kernel_regression(n, n_outputs, n_test)
    model = KernelRidge(alpha=problems.DIAG_REG * gram.diagonal().mean(), kernel="precomputed")
    return Case(
        run=lambda _: model.fit(gram, y).predict(k_test),
        arrays=lambda predictions: {"predictions": predictions},
    )


def separate_solves(*, n: int, n_test: int, n_outputs: int, n_sizes: int, spacing: str) -> Case:
    """A learning curve, each size solved by itself."""
    gram, y, k_test = _regression(n, n_outputs, n_test)
    ridge = problems.DIAG_REG * float(gram.diagonal().mean())
    sizes = problems.curve_sizes(n, n_sizes, spacing)
    return Case(
        run=lambda _: [k_test[:, :size] @ _solve(gram[:size, :size], y[:size], ridge)[0] for size in sizes],
        arrays=lambda predictions: {"predictions": torch.stack(predictions)},
    )


def cholesky_each_ridge(*, n: int, n_outputs: int, n_ridges: int) -> Case:
    """Coefficients and leave-one-out errors, each ridge factored by itself."""
    gram, y, _ = _regression(n, n_outputs)
    scale = float(gram.diagonal().mean())

    def path(_: None) -> tuple[Tensor, Tensor]:
        coefficients, loo = [], []
        for ridge in problems.ridges(n_ridges):
            alpha, lower = _solve(gram, y, scale * ridge)
            inverse_diagonal = torch.cholesky_inverse(lower).diagonal()
            coefficients.append(alpha)
            loo.append((alpha / inverse_diagonal[:, None]).square().mean())
        return torch.stack(coefficients), torch.stack(loo)

    return Case(run=path, arrays=lambda solved: {"coefficients": solved[0], "loo": solved[1]})


def training_loop(*, n_seeds: int, batch_size: int, n_epochs: int, n: int, dtype: str, **sizes: int) -> Case:
    """Training of one network after the other, with nothing else in the loop."""
    from ntk_atlas.streams import torch_stream
    from sides import training

    x, y = training.data(n, sizes["n_inputs"], sizes["n_outputs"], dtype)
    drawn = training.networks(n_seeds=n_seeds, dtype=dtype, **sizes)

    def networks() -> list[nn.Module]:
        members = []
        for seed in range(n_seeds):
            modules = []
            for layer in drawn.layers:
                linear = nn.Linear(*layer.weight.shape[1:], dtype=layer.weight.dtype)
                with torch.no_grad():
                    linear.weight.copy_(layer.weight[seed].T)
                    linear.bias.copy_(layer.bias[seed])
                modules += [linear, nn.ReLU()]
            members.append(nn.Sequential(*modules[:-1]))
        return members

    def train(members: list[nn.Module]) -> Tensor:
        for seed, network in enumerate(members):
            optimizer = torch.optim.SGD(network.parameters(), lr=training.LEARNING_RATE, fused=True)
            for epoch in range(n_epochs):
                order = torch.randperm(n, generator=torch_stream(*training.labels(seed), epoch))
                for batch in order.split(batch_size):
                    loss = (network(x[batch]) - y[batch]).square().sum() / (2 * len(batch))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        with torch.no_grad():
            return torch.stack([network(x[:20]) for network in members])

    return Case(run=train, arrays=lambda predictions: {"predictions": predictions}, setup=networks)
