"""What all unit tests share."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says nothing on a machine that is busy with something else.
settings.register_profile("waypost", deadline=None)
settings.load_profile("waypost")
