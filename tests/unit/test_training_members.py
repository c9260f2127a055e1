from ntk_atlas.training import Members

NAN, INF = float("nan"), float("inf")


def members(**changes):
    return Members(4, 100, **({"stop_mse": 0.1, "divergence_factor": 10.0} | changes))


def test_divergence_is_measured_against_each_first_loss():
    m = members()
    assert m.update([1.0, 100.0, 1.0, 1.0], None, 0) == []
    assert m.update([11.0, 999.0, NAN, INF], None, 3) == [0, 2, 3]
    assert m.diverged == [True, False, True, True] and m.stop_epoch == [3, 100, 3, 3]


def test_stopped_members_are_left_alone():
    m = members()
    m.update([1.0] * 4, [1.0] * 4, 0)
    assert m.update([1.0] * 4, [0.1, 1.0, 1.0, 1.0], 5) == [0]
    assert m.update([NAN, 1.0, 1.0, 1.0], [NAN, 0.2, 0.0, 1.0], 6) == [2]
    assert m.active == [False, True, False, True]
    assert not any(m.diverged) and m.stop_epoch == [5, 100, 6, 100]


def test_no_stopping_loss_and_a_bad_start():
    m = members(stop_mse=None)
    assert m.update([NAN, 0.0, 1.0, 1.0], [NAN, 0.0, 0.0, 0.0], 0) == [0]
    assert m.diverged == [True, False, False, False]
