"""Servers of OpenAI's chat completions under load: llava-edge's own, and others."""
