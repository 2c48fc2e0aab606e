"""Text from outside on a terminal."""


def safe(line: str) -> str:
    """Give the line with a mark in the place of all that could steer a terminal."""
    return "".join(one if one.isprintable() else "\ufffd" for one in line)
