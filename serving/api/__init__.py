"""The HTTP API: marts as JSON, CSV and Parquet. `endpoints` reads which marts; the rest treats all of them alike."""
