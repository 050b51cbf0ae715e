"""What the ranks of a run share among themselves."""

import pytest

from glat import ranks
from glat.errors import UserError
from glat.ranks import ALONE, Ranks


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 1000])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_parts_of_all_ranks_are_everything_once(count, size):
    parts = [list(range(count))[Ranks(rank, size).part(count)] for rank in range(size)]
    assert [item for part in parts for item in part] == list(range(count))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1
    assert lengths[0] == max(lengths)


def test_alone_nothing_is_exchanged():
    assert ALONE.on_first(max, 1, 2) == 2
    assert ALONE.gather("a") == ["a"]
    assert ALONE.mean([1.0]) == ALONE.most([1.0]) == [1.0]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (
            {"training classes": ["cat", "dogs"]},
            r"rank 1 differs from rank 0: training classes: \['dogs'\] there, \['dog",
        ),
        ({"number of clips": 14}, "rank 1 differs from rank 0: number of clips: 14 there, 16 on rank 0; start every"),
        ({"training classes": ["cat"]}, r"training classes: 1 there, \['dog'\] on rank 0"),
        ({}, None),
    ],
)
def test_ranks_that_differ_are_named_with_what_differs(theirs, said):
    ours = {"number of clips": 16, "training classes": ["cat", "dog"]}
    if said is None:
        ranks._check_same([ours, ours | theirs])
        return
    with pytest.raises(UserError, match=said):
        ranks._check_same([ours, ours | theirs])
