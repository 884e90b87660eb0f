"""The same weights, prompt and picture in other runtimes, on the same cores."""
