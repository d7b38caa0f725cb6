"""Tables show numbers in columns, escape what they hold, and read as plain text."""

from __future__ import annotations

import pytest

from cvcourse.widgets import Table


def test_numbers_stand_to_the_right_and_words_to_the_left():
    page = Table(["arm", "k-NN"], [["pixels", ".33"], ["SimCLR", ".85"]])._repr_html_()
    assert 'style="text-align:left' in page.split("pixels")[0].rpartition("<td")[2]
    assert 'style="text-align:right' in page.split(".33")[0].rpartition("<td")[2]


def test_what_a_table_holds_is_escaped():
    page = Table(["<b>"], [["<script>"]], caption="a & b")._repr_html_()
    assert "<script>" not in page and "<b>" not in page
    assert "&lt;script&gt;" in page and "a &amp; b" in page


def test_a_table_reads_as_text():
    table = Table(["arm", "share"], [["a", "5 %"], ["longer", "10 ms"]], caption="Shares")
    assert repr(table).splitlines() == ["Shares", "arm     share", "a         5 %", "longer  10 ms"]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="A row has 1 items, and the table has 2 columns"):
        Table(["a", "b"], [["1"]])
