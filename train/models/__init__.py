"""A vision tower, a projector and a language model, and how they are joined."""
