"""Files to raw tables. Data flows one way: ingest -> landing -> lines -> raw_tables."""
