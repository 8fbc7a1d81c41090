"""Runs Airflow with the DAG in ../dags."""
