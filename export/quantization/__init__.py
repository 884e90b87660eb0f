"""From matrices to blocks of few bits."""
