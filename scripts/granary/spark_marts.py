"""Write tables of Spark as Parquet, for bin/diff and bin/publish: granary.spark_marts FOLDER SCHEMA.TABLE ..."""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from granary import engines


def main() -> None:
    """Write those that there are."""
    folder, *tables = sys.argv[1:]
    engines.wait_for_spark()
    spark = SparkSession.builder.enableHiveSupport().getOrCreate()
    for table in tables:
        if spark.catalog.tableExists(table):
            spark.table(table).write.parquet(f"{folder}/{table}")


if __name__ == "__main__":
    main()
