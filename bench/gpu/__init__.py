"""A campaign of measurements on a GPU, in parts; it continues after a stop."""
