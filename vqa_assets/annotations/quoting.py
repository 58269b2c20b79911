"""How a message quotes what a file holds: never more of it than a person reads."""

_MOST = 80


def short(text: str) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
