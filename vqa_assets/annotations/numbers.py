"""Numbers as score files write them."""

import math


def number(text: str, *, decimal_comma: bool = False) -> float:
    """The number a text holds; NaN where it holds none. ``decimal_comma`` reads 3,5 as 3.5; 1_0 is Python's own."""
    try:
        return math.nan if "_" in text else float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return math.nan


def is_number(text: str) -> bool:
    """Whether a text is a number; a literal NaN is one."""
    return text.strip().lower() == "nan" or not math.isnan(number(text, decimal_comma=True))
