"""What is measured, and the bars: each row's subject, its rival, and what counts as held.

`hold` is what must never be lost, `stretch` what should be reached. Rows with several cases have one `Bar` a case.
"""

from dataclasses import dataclass, field

AT_LEAST = {"speedup": True, "efficiency": True, "time_ratio": False, "memory": False, "memory_ratio": False}
"""Quantity: whether larger is better."""


@dataclass(frozen=True)
class Bar:
    """One case of one row.

    Attributes:
        row: number of the row.
        title: what is computed.
        rival: what it is measured against.
        ours: name of our case in `sides/atlas.py`.
        theirs: `side:case` of the rival; None where the bar is absolute.
        quantity: `speedup`: their time by ours; `time_ratio`: our time by theirs; `efficiency`: least number of
            flops a second by the rate of the machine's matrix product; `memory`: our peak in MB above inputs and
            result; `memory_ratio`: our peak by theirs.
        hold: the bar.
        stretch: the aim.
        size: parameters of both cases.
        quick: those that the quick run replaces.
        clock: `wall` or `cpu` seconds.
        threads: threads of both sides.
        tolerance: relative difference (Frobenius) that the two sides' numbers may have.
        check: parameters replaced where numbers are compared. Row 17 needs it: in float32 a single ReLU whose
            sign differs by rounding changes the rest of a training, in float64 both sides stay together.
    """

    row: int
    title: str
    rival: str
    ours: str
    theirs: str | None
    quantity: str
    hold: float
    stretch: float
    size: dict
    quick: dict = field(default_factory=dict)
    clock: str = "wall"
    threads: int = 2
    tolerance: float = 1e-3
    check: dict = field(default_factory=dict)

    def parameters(self, quick: bool) -> dict:
        """Returns the parameters of the cases."""
        return self.size | self.quick if quick else self.size

    def meets(self, value: float, bar: float) -> bool:
        """Returns whether a measured value is on the right side of `bar`."""
        return value >= bar if AT_LEAST[self.quantity] else value <= bar


def _dense(n: int, width: int, depth: int, n_outputs: int, reduction: str = "trace") -> dict:
    sizes = {"n": n, "n_inputs": 784, "width": width, "depth": depth, "n_outputs": n_outputs}
    return sizes | {"output_reduction": reduction}


def _images(n: int, width: int) -> dict:
    return {"n": n, "width": width, "n_outputs": 1, "image": 32}


_SMALL = {"n": 48, "n_inputs": 20, "width": 16}
_SMALL_IMAGES = {"n": 6, "width": 4, "image": 8}
_NT3 = {"rival": "neural-tangents, structured derivatives", "theirs": "neural_tangents:structured", "quick": _SMALL}
_FUNC = {"rival": "torch.func, vmap(jacrev)"}
_INFINITE = {
    "rival": "neural-tangents",
    "ours": "infinite",
    "theirs": "neural_tangents:infinite",
    "quick": {"n": 32, "n_inputs": 20},
    "clock": "cpu",
}
_SOLVE = {"n": 5000, "n_test": 100, "n_outputs": 10}
_CURVE = {
    "rival": "a solve for each size",
    "ours": "learning_curve",
    "theirs": "torch_peers:separate_solves",
    "quick": {"n": 120, "n_test": 10, "n_sizes": 8},
    "tolerance": 1e-8,
}
_CURVE_SIZE = {"n": 4000, "n_test": 1000, "n_outputs": 10, "n_sizes": 100}

_MODULE = {"ours": "empirical_of_module", "theirs": "torch_peers:jacobians_of_module", "quantity": "speedup"} | _FUNC


def _module(row: int, title: str, name: str, n: int, hold: float, stretch: float, chunks: list[int]) -> Bar:
    size = {"name": name, "n": n, "chunks": chunks}
    return Bar(
        row,
        title,
        size=size,
        quick={"n": 2, "chunks": [2]},
        hold=hold,
        stretch=stretch,
        clock="cpu",
        threads=1,
        **_MODULE,
    )


_CATALOGUE = (
    "U-Net", "depthwise separable", "squeeze-excite", "MLP-Mixer", "GRU", "LSTM", "plain RNN", "transformer encoder",
    "residual, dense", "group norm", "dilated", "circular padding", "one-dimensional", "weight norm", "PReLU",
    "tied embedding", "embedding bag", "bilinear", "shared layer", "3-D convolution",
)  # fmt: skip

# fmt: off
BARS = (
    Bar(1, "NTK trace, w 256, depth 3, 10 outputs, n 2000", ours="empirical_dense", quantity="speedup",
        hold=3.5, stretch=5, size=_dense(2000, 256, 3, 10), **_NT3),
    Bar(2, "NTK trace, w 1024, depth 6, 10 outputs, n 2000", ours="empirical_dense", quantity="speedup",
        hold=2.5, stretch=3.5, size=_dense(2000, 1024, 6, 10), clock="cpu", **_NT3),
    Bar(3, "NTK, w 1024, depth 6, n 2000", ours="empirical_dense", quantity="speedup",
        hold=1.8, stretch=2.5, size=_dense(2000, 1024, 6, 1), clock="cpu", **_NT3),
    Bar(4, "NTK, w 64, depth 3, n 4000", ours="empirical_dense", quantity="speedup",
        hold=4, stretch=7, size=_dense(4000, 64, 3, 1), clock="cpu", **_NT3),
    Bar(5, "NTK full, w 256, depth 3, 10 outputs, n 1000", ours="empirical_dense", quantity="speedup",
        hold=3, stretch=5, size=_dense(1000, 256, 3, 10, "full"), **_NT3),
    Bar(6, "NTK, w 1024, depth 6, n 2000", "sgemm 2048³", "empirical_dense", "atlas:sgemm", "efficiency",
        0.5, 0.7, _dense(2000, 1024, 6, 1), _SMALL),
    Bar(6, "NTK trace, w 1024, depth 6, 10 outputs, n 2000", "sgemm 2048³", "empirical_dense", "atlas:sgemm",
        "efficiency", 0.5, 0.7, _dense(2000, 1024, 6, 10), _SMALL),
    Bar(7, "NTK, w 256, depth 3, n 512", ours="empirical_dense", theirs="torch_peers:jacobians_dense",
        quantity="speedup", hold=50, stretch=80, size=_dense(512, 256, 3, 1), quick=_SMALL, **_FUNC),
    Bar(8, "Peak memory of the NTK, w 1024, depth 6, n 2000", "(absolute)", "empirical_dense", None, "memory",
        250, 150, _dense(2000, 1024, 6, 1), _SMALL),
    Bar(9, "Convolutional NTK, w 32, n 256", ours="empirical_convolutional",
        theirs="torch_peers:jacobians_convolutional", quantity="speedup", hold=1.4, stretch=2,
        size=_images(256, 32), quick=_SMALL_IMAGES, **_FUNC),
    Bar(9, "Convolutional NTK, w 32, n 512", ours="empirical_convolutional",
        theirs="torch_peers:jacobians_convolutional", quantity="speedup", hold=1.4, stretch=2,
        size=_images(512, 32), quick=_SMALL_IMAGES, **_FUNC),
    Bar(10, "Convolutional NTK, w 32, n 256", "neural-tangents, Jacobian contraction", "empirical_convolutional",
        "neural_tangents:convolutional", "speedup", 3.5, 5, _images(256, 32), _SMALL_IMAGES),
    Bar(11, "Peak memory of the convolutional NTK, w 64, n 256", ours="empirical_convolutional",
        theirs="torch_peers:jacobians_convolutional", quantity="memory_ratio", hold=0.5, stretch=0.3,
        size=_images(256, 64), quick=_SMALL_IMAGES, **_FUNC),
    Bar(12, "Infinite ReLU, NNGP and NTK, depth 3, n 2000", quantity="speedup", hold=2.5, stretch=4,
        size={"activation": "relu", "depth": 3, "n": 2000, "n_inputs": 784}, **_INFINITE),
    Bar(12, "Infinite ReLU, NNGP and NTK, depth 6, n 4000", quantity="speedup", hold=2.5, stretch=4,
        size={"activation": "relu", "depth": 6, "n": 4000, "n_inputs": 784}, **_INFINITE),
    Bar(13, "Infinite erf, NNGP and NTK, depth 3, n 2000", quantity="speedup", hold=1.5, stretch=2,
        size={"activation": "erf", "depth": 3, "n": 2000, "n_inputs": 784}, **_INFINITE),
    Bar(14, "Kernel regression, n 5000, 10 targets", "torch.linalg.cholesky, cholesky_solve", "solve",
        "torch_peers:cholesky_solve", "time_ratio", 1.15, 1.15, _SOLVE, {"n": 200, "n_test": 10}, tolerance=1e-8),
    Bar(14, "Kernel regression, n 5000, 10 targets", "scikit-learn KernelRidge", "solve",
        "torch_peers:kernel_ridge", "speedup", 2, 4, _SOLVE, {"n": 200, "n_test": 10}, tolerance=1e-8),
    Bar(15, "Learning curve at 100 log-spaced sizes up to 4000", quantity="speedup", hold=6, stretch=12,
        size=_CURVE_SIZE | {"spacing": "log"}, **_CURVE),
    Bar(15, "Learning curve at 100 equally spaced sizes up to 4000", quantity="speedup", hold=13, stretch=25,
        size=_CURVE_SIZE | {"spacing": "linear"}, **_CURVE),
    Bar(16, "50 ridges with leave-one-out, n 2000", "a Cholesky factor for each ridge", "ridge_path",
        "torch_peers:cholesky_each_ridge", "speedup", 6, 9, {"n": 2000, "n_outputs": 10, "n_ridges": 50},
        {"n": 100, "n_ridges": 5}, tolerance=1e-6),
    Bar(17, "Training 8 networks, w 32, depth 3, batch 64, 20 epochs", "a plain loop over networks",
        "stacked_training", "torch_peers:training_loop", "speedup", 1.7, 2.4,
        {"n": 1000, "n_inputs": 784, "width": 32, "depth": 3, "n_outputs": 10, "n_seeds": 8, "batch_size": 64,
         "n_epochs": 20, "dtype": "float32"},
        {"n": 128, "n_seeds": 2, "n_epochs": 2}, threads=1,
        tolerance=1e-10, check={"dtype": "float64"}),
    _module(18, "NTK trace, ResNet-18 w 16, 10 outputs, n 64", "resnet18 w16", 64, 3, 6, [16, 64]),
    _module(18, "NTK trace, ResNet-18 w 64, 10 outputs, n 16", "resnet18 w64", 16, 3, 8, [4]),
    _module(19, "NTK trace, ViT d 64, 4 blocks, 65 tokens, 10 outputs, n 64", "vit", 64, 2, 4, [16, 64]),
    _module(20, "NTK trace, GPT-like d 64, 3 blocks, 32 tokens, 5 outputs, n 64", "gpt", 64, 1.5, 3, [16, 64]),
    _module(20, "NTK trace, LSTM h 64, 2 layers, 20 steps, 3 outputs, n 64", "lstm", 64, 1.5, 3, [16, 64]),
    *(_module(21, f"NTK trace, {name}, n 256", name, 256, 0.95, 1.5, [32, 256]) for name in _CATALOGUE),
)
# fmt: on

ROWS = tuple(sorted({bar.row for bar in BARS}))
