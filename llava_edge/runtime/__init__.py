"""From a bundle to answers: pictures encoded, prompts read, tokens chosen."""
