from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.config import CheckpointSettings, TrainingSettings
from ntk_atlas.training import epoch_budget, scheduled_epochs

few = settings(max_examples=40, deadline=None, derandomize=True)
schedules = st.one_of(
    st.just("every"), st.just("log"), st.lists(st.integers(0, 500), min_size=1, max_size=6).map(tuple)
)


@few
@given(epochs=schedules, n_log=st.integers(2, 30), n_epochs=st.integers(1, 2000))
def test_schedules_increase_and_hold_both_ends(epochs, n_log, n_epochs):
    schedule = scheduled_epochs(CheckpointSettings(epochs=epochs, n_log=n_log), n_epochs)
    assert schedule[0] == 0 and schedule[-1] == n_epochs
    assert all(a < b for a, b in pairwise(schedule))
    if epochs == "log":
        assert len(schedule) <= n_log + 1
    elif epochs == "every":
        assert len(schedule) == n_epochs + 1
    else:
        assert set(schedule) - {0, n_epochs} == {e for e in epochs if 0 < e < n_epochs}


def test_log_schedule_by_hand():
    settings = CheckpointSettings(epochs="log", n_log=4)
    assert scheduled_epochs(settings, 1000) == (0, 1, 10, 100, 1000)
    assert scheduled_epochs(settings, 2) == (0, 1, 2)


@few
@given(
    max_epochs=st.integers(1, 300),
    min_steps=st.integers(0, 5000),
    batch=st.one_of(st.just("full"), st.integers(1, 64)),
    n_train=st.integers(1, 300),
)
def test_budget_is_the_smallest_that_holds_both_limits(max_epochs, min_steps, batch, n_train):
    training = TrainingSettings(max_epochs=max_epochs, min_steps=min_steps, batch_size=batch)
    budget = epoch_budget(training, n_train)
    steps = 1 if batch == "full" else len(range(0, n_train, batch))
    assert budget >= max_epochs and budget * steps >= min_steps
    assert budget == max_epochs or (budget - 1) * steps < min_steps
