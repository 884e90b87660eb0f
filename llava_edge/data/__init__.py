"""Records: conversations about pictures, as files hold them."""
