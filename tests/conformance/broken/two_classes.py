from ril_bench import Method


class One(Method):
    """The first of two classes in one file."""


class Two(Method):
    """The second of two classes in one file."""
