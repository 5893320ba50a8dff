"""The orientations that an answer is the mean of."""

import pytest
import torch

from eusml.learning.predict import turned


@pytest.mark.parametrize(
    ("count", "turns_and_mirrored"),
    [
        (1, [(0, False)]),
        (2, [(0, False), (0, True)]),
        (4, [(0, False), (1, False), (2, False), (3, False)]),
        (8, [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]),
    ],
)
def test_orientations_are_what_their_number_says(count: int, turns_and_mirrored: list[tuple[int, bool]]) -> None:
    images = torch.arange(2 * 3 * 3).float().view(2, 1, 3, 3)
    found = turned(images, count)
    assert len(found) == count
    for view, (turns, is_mirrored) in zip(found, turns_and_mirrored, strict=True):
        expected = torch.rot90(images, turns, (2, 3))
        assert torch.equal(view, expected.flip(3) if is_mirrored else expected)
    assert len({tuple(view.flatten().tolist()) for view in found}) == count
