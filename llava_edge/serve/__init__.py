"""The local server: OpenAI's wire over a bundle, and the page that it serves."""
