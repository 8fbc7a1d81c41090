"""The HTTP API: marts as JSON, CSV and Parquet. `endpoints` says what there is; the rest is the same for all of it."""
