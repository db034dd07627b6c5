"""What the chaos tests measure with."""

from __future__ import annotations

import pytest

from tests.chaos.measure import common, merged, without
from tests.chaos.table import BEGIN, END, HEADING, Row, updated


def test_spans() -> None:
    assert merged([(3, 4), (0, 1), (1, 2)]) == [(0, 2), (3, 4)]
    assert merged([(0, 5), (1, 2)]) == [(0, 5)]
    assert merged([(0, 1), (1.2, 2)], 0.25) == [(0, 2)]
    assert without([(0, 10)], [(2, 3), (5, 6)]) == [(0, 2), (3, 5), (6, 10)]
    assert without([(0, 1), (4, 5)], [(0.5, 4.5)]) == [(0, 0.5), (4.5, 5)]
    assert without([(0, 1)], [(0, 1)]) == []
    assert without([(0, 1)], []) == [(0, 1)]
    assert common([(0, 2), (3, 5)], [(1, 4)]) == [(1, 2), (3, 4)]


def test_a_row_takes_the_place_of_its_older_one() -> None:
    one, two = Row("killed", 5.0, 0.4, 4.6, 2, True), Row("evicted", 0.0, None, None, 2, False)
    text = f"head\n{BEGIN}\n{END}\ntail\n"
    filled = updated(text, [one, two])
    assert filled == (
        f"head\n{BEGIN}\n{HEADING}| killed | 5.00 | 0.40 | 4.60 | 2 | yes |\n"
        f"| evicted | 0.00 | – | – | 2 | **no** |\n{END}\ntail\n"
    )
    better = Row("killed", 1.0, 0.1, 0.9, 2, True)
    assert updated(filled, [better]) == filled.replace(one.line(), better.line())


def test_a_document_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no"):
        updated("nothing", [])
