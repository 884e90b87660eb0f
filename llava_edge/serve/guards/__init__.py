"""What stands between a socket and the server: each guard lets a request on, or refuses it."""
