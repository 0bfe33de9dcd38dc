"""What all tests share."""

from hypothesis import settings

# A machine that does something else as well takes longer over an example, which is no failure.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
