from pathlib import Path

outside = Path("../../../../outside")
outside.mkdir()
(outside / "secret.csv").write_text("password\n1234\n")
Path("file.csv").symlink_to(outside / "secret.csv")
Path("../u").symlink_to("../../../outside")
Path("a.csv").write_text("order_id,note,amount\na1,x,1\n")
Path("same.csv").symlink_to("a.csv")
