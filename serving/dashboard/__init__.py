"""Shows the marts to browsers."""
