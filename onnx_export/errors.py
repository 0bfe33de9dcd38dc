"""The one error that the exporter shows to a person."""


class ExportError(Exception):
    """The message says the rule, what was received, and what to do."""
