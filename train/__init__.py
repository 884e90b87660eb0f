"""Trains the two-stage LLaVA checkpoint."""
