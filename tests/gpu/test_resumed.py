"""A training that was killed ends bit for bit as one that was not."""


def test_a_killed_training_is_resumed_bit_for_bit(trained, resumed):
    whole = trained["whole"]
    assert len(whole.losses) == 6
    assert resumed.losses == whole.losses
    assert resumed.weights == whole.weights
