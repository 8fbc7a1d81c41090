"""Files to raw tables. Data flows one way: ingest -> landing -> streams -> rows -> raw_tables."""
