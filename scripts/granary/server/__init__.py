"""The PostgreSQL server: the embedded one, or the one that PGHOST names."""
