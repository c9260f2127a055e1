"""A rival kernel from a file of the user's: loaded, checked on samples, regressed with, named in the cube."""

import pathlib

import numpy as np
import pytest
import torch

from ntk_atlas.arrays import Status
from ntk_atlas.config import (
    RegressionSettings,
    curve_names,
    predictor_family,
    predictor_label,
    predictor_name,
    predictors_of,
    user_kernels,
)
from ntk_atlas.kernels import UserKernelError, check_user_kernel, load_user_kernel, rival
from ntk_atlas.regression import regress_rival
from ntk_atlas.streams import torch_stream

X = torch.randn(70, 3, generator=torch_stream("user kernel"), dtype=torch.float64)
Y = torch.sin(X.sum(1, keepdim=True))


@pytest.fixture
def kernel_of(tmp_path):
    """Writes a file with a function k and loads it."""

    def make(body: str, name: str = "k", **parameters):
        file = tmp_path / "my_kernel.py"
        file.write_text("import numpy as np\nimport torch\n" + body)
        return load_user_kernel(f"{file}:{name}", **parameters)

    return make


RBF = """
def k(x1, x2, length_scale=1.0):
    d = torch.cdist(x1 / length_scale, x2 / length_scale, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.exp(-0.5 * d**2)
"""
GOOD = {
    "rbf": RBF,
    "other names": "def k(a, b): return 1.0 + a @ b.T",
    "numpy": "def k(x1, x2): return np.asarray(x1) @ np.asarray(x2).T",
    "float32": "def k(x1, x2): return x1.float() @ x2.float().T",
    "integers": "def k(x1, x2): return (x1[:, None] > 0).eq(x2[None] > 0).sum(-1)",
    "keywords": "def k(x1, x2, **parameters): return x1 @ x2.T",
    "instance": "class K:\n    def __call__(self, x1, x2): return x1 @ x2.T\nk = K()",
    "module": "class K(torch.nn.Module):\n    def forward(self, x1, x2, power=2): return (x1 @ x2.T) ** power\nk = K()",
    "parameters with gradients": "w = torch.ones(3, dtype=torch.float64, requires_grad=True)\n"
    "def k(x1, x2): return (x1 * w) @ x2.T",
    "mm distances": "def k(x1, x2): return torch.exp(-torch.cdist(x1, x2, compute_mode='use_mm_for_euclid_dist'))",
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_kernels_are_taken(kernel_of, body):
    kernel = kernel_of(body)
    before = X.clone()
    check_user_kernel(kernel, X.reshape(70, 3, 1))
    assert torch.equal(X, before)
    assert kernel(X[:4], X[:2], 1.0).shape == (4, 2)


BAD = {
    "is not symmetric": "def k(x1, x2): return x1 @ x2.T + x1[:, :1]",
    "is not positive semidefinite: on 70 samples of the data": "def k(x1, x2): return torch.cdist(x1, x2)",
    "gives other numbers when it is called again": "def k(x1, x2): return x1 @ x2.T + torch.rand(())",
    "changes its inputs": "def k(x1, x2):\n    x1 -= 1.0\n    return x1 @ x2.T",
    "depends on more than its two samples": "def k(x1, x2): return torch.exp(-torch.cdist(x1, x2) / len(x1))",
    "is another one for a copy of the same samples": "def k(a, b): return a @ b.T + (a is b) * torch.eye(len(a))",
    r"returns shape \(70,\) for inputs of shapes \(70, 3\) and \(70, 3\): return K": "def k(x1, x2): return x1[:, 0]",
    "has 4900 of 4900 entries that are NaN or infinite": "def k(x1, x2): return x1 @ x2.T / 0.0",
    "returns torch.float16, whose rounding": "def k(x1, x2): return (x1 @ x2.T).half()",
    r"returns no K\(x1, x2\): K is complex": "def k(x1, x2): return (x1 @ x2.T).to(torch.complex128)",
    r"returns no K\(x1, x2\): K is a NoneType": "def k(x1, x2): pass",
    r"returns no K\(x1, x2\): K is sparse .*: give K.to_dense\(\)": "def k(x1, x2): return (x1 @ x2.T).to_sparse()",
    r"depends on more than .*block": "cache = {}\n"
    "def k(x1, x2): return cache.setdefault((len(x1), len(x2)), x1 @ x2.T)",
    "depends on more than": "def k(a, b): return a @ b.T + (torch.eye(len(a)) if len(a) == len(b) else 0)",
    "is 0 for all pairs of 70 samples": "def k(x1, x2): return 0.0 * (x1 @ x2.T)",
    r"failed: ValueError: too many \(.*my_kernel.py, line 4\)": "def k(x1, x2):\n    raise ValueError('too many')",
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_kernel_is_named_with_file_and_function(kernel_of, message):
    kernel = kernel_of(BAD[message])
    with pytest.raises(UserKernelError, match=rf"my_kernel.py:k'? .*{message}"):
        check_user_kernel(kernel, X)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("k = 3", "is int: it must be a function k"),
        ("class k: pass", r"is a class: define a function k\(x1, x2\)"),
        ("def k(x1): pass", r"takes \(x1\): define `def k\(x1, x2, length_scale=1.0\)`"),
        ("def k(x1, x2, p): pass", "has no default for p: give one"),
        ("def kernel(x1, x2): pass", "has no function 'k'"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_loaded_is_named(kernel_of, body, message):
    with pytest.raises(UserKernelError, match=message):
        kernel_of(body)


def test_parameters_are_passed_on_and_unknown_ones_named(kernel_of):
    body = "def k(x1, x2, scale=1.0): return scale * (x1 @ x2.T)"
    torch.testing.assert_close(kernel_of(body, scale=3.0)(X, X), 3.0 * X @ X.T)
    with pytest.raises(UserKernelError, match="has no parameter width: it has x1, x2, scale"):
        kernel_of(body, width=3.0)


def regression(kernel, **settings):
    targets = {"y_train": Y[:40], "y_validation": Y[40:50], "y_test": Y[50:]}
    choice = RegressionSettings(ridge_grid=(1e-4, 1e-2), length_scales=(0.5, 2.0), **settings)
    return regress_rival(kernel, X[:40], X[40:50], X[50:], **targets, sizes=[20, 40], settings=choice)


def test_a_kernel_with_a_length_scale_is_the_built_in_one(kernel_of):
    own, built_in = regression(kernel_of(RBF)), regression(rival("rbf"))
    np.testing.assert_allclose(own.test_mse, built_in.test_mse, rtol=1e-6)
    np.testing.assert_array_equal(own.length_scale, built_in.length_scale)
    np.testing.assert_allclose(own.lambda_min, built_in.lambda_min, rtol=1e-6, atol=1e-12)


def test_a_kernel_without_a_length_scale_has_its_ridge_chosen(kernel_of):
    result = regression(kernel_of("def k(x1, x2): return (1.0 + x1 @ x2.T)**9"), keep_predictions=True)
    gram = (1.0 + X[:40] @ X[:40].T) ** 9
    for policy in (0, 1):
        ridge = (result.diag_reg[policy, 1] + result.jitter[policy, 1]) * gram.diagonal().mean()
        alpha = torch.linalg.solve(gram + ridge * torch.eye(40, dtype=torch.float64), Y[:40])
        expected = (1.0 + X[50:] @ X[:40].T) ** 9 @ alpha
        np.testing.assert_allclose(result.test_predictions[policy, 1], expected, rtol=0, atol=1e-4)
    assert np.isnan(result.length_scale).all()
    assert (result.status != Status.SINGULAR).all()


def test_float32_kernels_of_low_rank_are_known_to_be_float32(kernel_of):
    result = regression(kernel_of("def k(x1, x2): return x1.float() @ x2.float().T"))
    assert (result.status[0] == Status.JITTERED).all()


def test_its_name_is_legal_and_unique():
    spec = "kernels/my-kernel.v2.py:k_3"
    name = predictor_name(spec)
    assert name == "user_my_kernel_v2_k_3"
    assert (predictor_name("rbf"), predictor_name(name)) == ("rbf", name)
    assert predictors_of("rival", ["rbf", spec]) == ("rbf", name)
    assert predictor_family(spec).kind == predictor_family(name).kind == "rival"
    assert predictor_label(name) == "my_kernel_v2_k_3"
    assert curve_names([spec], [name]) == [name]
    assert user_kernels(["rbf", spec]) == {name: spec}
    settings = RegressionSettings(predictors=(spec, "rbf", spec))
    assert settings.predictors == (spec, "rbf")
    with pytest.raises(ValueError, match=r"'a/k.py:f' and 'b/k.py:f' would both be called 'user_k_f' in the cube"):
        RegressionSettings(predictors=("a/k.py:f", "b/k.py:f"))
    for wrong in ("user_k_f", "k.py", "k.py:", "k.py:3", ".py:k"):
        with pytest.raises(ValueError, match="predictors"):
            RegressionSettings(predictors=(wrong,))


def test_the_example_of_the_documentation_is_a_kernel():
    text = (pathlib.Path(__file__).parents[2] / "config" / "README.md").read_text()
    assert "my_kernel.py:k" in text
