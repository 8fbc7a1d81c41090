"""Add up weekly sales by event with Spark: from the orders of the warehouse, which it reads over JDBC.

usage: bin/spark-submit jobs/tickets/example_job.py FOLDER [--format csv|parquet] [--parts N] [--force]

The rows are those of marts.fct_weekly_sales, in any order. FOLDER must not exist yet, unless --force replaces it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import DecimalType

ORDERS = "marts.fct_orders"


def main() -> int:
    """Read, add up and write; return an exit code."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("example_job.py", argparse.SUPPRESS, __doc__, formatter_class=as_written)
    parser.add_argument("folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--format", choices=("csv", "parquet"), default="parquet", help=argparse.SUPPRESS)
    parser.add_argument("--parts", type=int, default=2, help=argparse.SUPPRESS)
    parser.add_argument("--force", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.parts < 1:
        parser.error("--parts: at least 1")
    if options.folder.exists() and not options.force:
        return fail(f"{options.folder} exists: choose another folder, or replace it with --force")
    if "GRANARY_JDBC_URL" not in os.environ:
        return fail("GRANARY_JDBC_URL isn't set: start this job with bin/spark-submit")
    spark = SparkSession.builder.appName("weekly sales").getOrCreate()
    try:
        sales = weekly_sales(orders(spark, options.parts)).cache()
        sales.coalesce(1).write.mode("overwrite").option("header", True).format(options.format).save(
            str(options.folder)
        )
        print(f"{sales.count():,} weeks of events written to {options.folder}")
    except PySparkException as error:
        return fail(str(error).partition("\n")[0])
    finally:
        spark.stop()
    return 0


def orders(spark: SparkSession, parts: int) -> DataFrame:
    """Read the orders in several connections, each of which takes a range of the rows' numbers."""
    reader = spark.read.format("jdbc").option("url", os.environ["GRANARY_JDBC_URL"]).option("fetchsize", 10_000)
    bounds = (
        reader.option("query", f"select min(_row_id) as lowest, max(_row_id) as highest from {ORDERS}").load().first()
    )
    ranges = {"partitionColumn": "_row_id", "lowerBound": bounds.lowest or 0, "upperBound": (bounds.highest or 0) + 1}
    return (
        spark.read.format("jdbc")
        .options(url=os.environ["GRANARY_JDBC_URL"], dbtable=ORDERS, fetchsize=10_000, numPartitions=parts, **ranges)
        .load()
    )


def weekly_sales(orders: DataFrame) -> DataFrame:
    """Return orders, buyers and money by week and event."""
    money = DecimalType(38, 2)
    count = f.count("order_id")
    return (
        orders.where("sales_week is not null and event_id is not null")
        .groupBy("sales_week", "event_id")
        .agg(
            count.alias("order_count"),
            f.countDistinct("account_id").alias("buyer_count"),
            f.sum("order_total_usd").cast(money).alias("gross_sales_usd"),
            f.sum("collected_usd").cast(money).alias("collected_usd"),
            f.round(f.sum("order_total_usd") / count, 2).cast(money).alias("average_order_usd"),
        )
    )


def fail(reason: str) -> int:
    """Say what is wrong, and return an exit code."""
    print(f"error: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
