import gzip
from pathlib import Path

Path("input.csv.gz").write_bytes(gzip.compress(b"order_id,note,amount\na1,x,1\n") + b"a2,y,2\n")
Path("text.csv.gz").write_bytes(b"order_id,note,amount\na1,x,1\n")
