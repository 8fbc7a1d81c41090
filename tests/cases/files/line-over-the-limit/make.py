import gzip

with gzip.open("input.csv.gz", "wb", 1) as file:
    file.write(b"order_id,note,amount\na1,x,1\na2,")
    for _ in range(9):
        file.write(b"a" * (1 << 20))
    file.write(b",2\na3,z,3\n")
