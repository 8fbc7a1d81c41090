"""Granary: the loader, the server, dbt, and the reports. Started by the commands in bin/."""
