"""A training that was killed ends bit for bit as one that was not."""

from retune.measuring.history import read_start


def test_a_killed_training_is_resumed_bit_for_bit(trained, resumed):
    whole = trained["whole"]
    assert read_start(resumed.state).step == 2
    assert len(whole.losses) == 6
    assert resumed.losses == whole.losses
    assert resumed.weights == whole.weights
