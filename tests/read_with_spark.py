"""Run by tests/test_spark.py in the environment of Spark: runs queries over texts, and prints the rows as JSON.

usage: read_with_spark.py QUERIES, a file with a list of {query, columns, rows}: a query over the table `texts`, the
names of its columns, to which `place` is added, the number of a row, and the rows
"""

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession


def main() -> None:
    """Print a list of rows, of texts and nulls, for each query."""
    spark = SparkSession.builder.getOrCreate()
    found = []
    for each in json.loads(Path(sys.argv[1]).read_text()):
        types = ", ".join([*(f"{name} string" for name in each["columns"]), "place bigint"])
        rows = [[*row, place] for place, row in enumerate(each["rows"])]
        spark.createDataFrame(rows, types).createOrReplaceTempView("texts")
        result = spark.sql(f"select * from ({each['query']}) order by place").drop("place")
        found.append([[None if value is None else str(value) for value in row] for row in result.collect()])
    print(json.dumps(found))


main()
