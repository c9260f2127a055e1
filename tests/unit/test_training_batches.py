import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.training import MemberBatches

few = settings(max_examples=25, deadline=None, derandomize=True)


@few
@given(n_train=st.integers(1, 40), batch_size=st.integers(1, 50), epoch=st.integers(0, 9))
def test_an_epoch_is_a_permutation_for_every_member(n_train, batch_size, epoch):
    batches = MemberBatches(n_train, batch_size, [("a", 0), ("a", 1)])
    batches.set_epoch(epoch)
    parts = list(batches)
    assert len(parts) == len(batches)
    assert all(part.shape[1] == min(batch_size, n_train) for part in parts[:-1])
    order = torch.cat(parts, dim=1)
    assert torch.equal(order.sort(dim=1).values, torch.arange(n_train).expand(2, -1))


def test_order_depends_on_labels_and_epoch_only():
    together, alone = MemberBatches(30, 7, [("a", 0), ("a", 1)]), MemberBatches(30, 7, [("a", 1)])
    orders = {}
    for epoch in (4, 0, 4):
        together.set_epoch(epoch)
        alone.set_epoch(epoch)
        orders[epoch] = torch.cat(list(together), dim=1)
        assert torch.equal(orders[epoch][1:], torch.cat(list(alone), dim=1))
    assert not torch.equal(orders[4][0], orders[4][1])
    assert not torch.equal(orders[4], orders[0])
