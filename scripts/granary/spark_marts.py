"""Write marts of Spark as Parquet, for bin/diff and bin/publish: granary.spark_marts SCHEMA FOLDER MART ..."""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from granary import engines


def main() -> None:
    """Write those that there are."""
    schema, folder, *marts = sys.argv[1:]
    engines.wait_for_spark()
    spark = SparkSession.builder.enableHiveSupport().getOrCreate()
    for mart in marts:
        if spark.catalog.tableExists(f"{schema}.{mart}"):
            spark.table(f"{schema}.{mart}").write.parquet(f"{folder}/{mart}")


if __name__ == "__main__":
    main()
