from onnx_export.markdown import percent, table


def test_table_has_a_rule_below_its_header_and_no_bars_in_cells() -> None:
    assert table(("a", "b"), [("1|2", "3")]) == "| a | b |\n| --- | --- |\n| 1/2 | 3 |"


def test_percent_has_one_decimal_and_says_what_is_missing() -> None:
    assert percent(0.9545) == "95.5 %"
    assert percent(None) == "not measured"
