"""For authors of plugins: their tests import from here, the daemon never does."""
