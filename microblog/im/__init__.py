"""RFC 6121: roster, presence and messages."""
