"""Values: frozen attrs classes and pure functions. No input or output happens here."""
