"""Other people's models: found by name, fetched, and known again."""
