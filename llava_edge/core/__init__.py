"""What a bundle is, and what its model sees of pictures and words."""
