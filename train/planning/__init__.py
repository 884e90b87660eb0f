"""What a recipe will do and take, worked out before anything is loaded."""
