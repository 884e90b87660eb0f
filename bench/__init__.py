"""Measures how fast and how good a bundle is, and how fast training is."""
