"""How fast a bundle is, and how good."""
