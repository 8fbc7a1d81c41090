"""Run by tests/test_spark.py in the environment of Spark: reads texts with parse types, and prints the values as JSON.

usage: read_with_spark.py QUERY TEXTS, both names of files: the compiled query, and the texts by parse type as JSON
"""

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession


def main() -> None:
    query, texts = (Path(name).read_text() for name in sys.argv[1:])
    spark = SparkSession.builder.getOrCreate()
    found = {}
    for parse, delivered in json.loads(texts).items():
        spark.createDataFrame(list(enumerate(delivered)), "place bigint, delivered string").createOrReplaceTempView(
            "texts"
        )
        rows = spark.sql(f"select cast({parse}_read as string) as value from ({query}) order by place").collect()
        found[parse] = [row.value for row in rows]
    print(json.dumps(found))


main()
