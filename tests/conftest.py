"""For all tests: what is slow on a busy machine is not wrong."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
