"""What is taken as a tensor of real numbers, and the message for everything else."""

import numpy as np
import pandas as pd
import pytest
import torch

from ntk_atlas.numerics import real_tensor


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.arange(6.0, dtype=">f8").reshape(2, 3),
        np.arange(6.0)[::-1].reshape(2, 3)[::-1, ::-1],
        [[0, 1, 2], [3.0, 4, 5]],
        [torch.tensor([0.0, 1.0, 2.0]), torch.tensor([3.0, 4.0, 5.0])],
        torch.arange(6.0).reshape(2, 3),
        pd.DataFrame({"a": pd.array([0, 3], dtype="Int64"), "b": [1, 4], "c": [2.0, 5.0]}),
        np.array([[False, 1, 2.0], [3, 4, 5]], dtype=object),
    ],
    ids=[
        "float64",
        "int32",
        "float16",
        "big endian",
        "negative strides",
        "lists",
        "list of tensors",
        "tensor",
        "data frame",
        "objects",
    ],
)
def test_arrays_and_lists_of_numbers_are_taken(value):
    tensor = real_tensor(value, "x")
    assert torch.equal(tensor.double(), torch.arange(6.0).double().reshape(2, 3))


def test_integers_beyond_64_bits_are_numbers():
    assert real_tensor([1, 10**30], "x").tolist() == [1.0, 1e30]


def test_a_tensor_and_a_plain_array_are_not_copied():
    tensor, array = torch.zeros(3), np.zeros(3)
    assert real_tensor(tensor, "x") is tensor
    real_tensor(array, "x")[0] = 1.0
    assert array[0] == 1.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3, dtype=np.longdouble), "x has dtype .*128.*, which torch lacks: give x.astype"),
        (np.array(["a", "b"]), "x has dtype <U1: give numbers"),
        (np.array([1.0, None]), "x has dtype object: give numbers, as a torch tensor or a NumPy array: None"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "x has dtype object: give numbers, .*: 'x'"),
        (np.zeros(3, dtype=complex), r"x is complex \(torch.complex128\): give real numbers"),
        (torch.zeros(3, dtype=torch.complex64), "x is complex"),
        (torch.eye(3).to_sparse(), r"x is sparse \(torch.sparse_coo\): give x.to_dense\(\)"),
        ([[1.0], [2.0, 3.0]], "x is a list that is no array of numbers"),
        ({"a": 1}, "x is a dict: give a torch tensor or a NumPy array"),
        (None, "x is a NoneType"),
        (np.ma.masked_greater(np.arange(4.0), 2.0), "x has 1 masked entries: drop or impute"),
    ],
)
def test_what_is_no_tensor_of_real_numbers_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        real_tensor(value, "x")
