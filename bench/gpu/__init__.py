"""All that a machine with a GPU must be asked, in parts that go on after a stop."""
