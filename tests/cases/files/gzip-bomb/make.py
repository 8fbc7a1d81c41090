import gzip

with gzip.open("input.jsonl.gz", "wb") as file:
    for _ in range(20):
        file.write(b'{"order_id": 1}\n' * 62_500)
