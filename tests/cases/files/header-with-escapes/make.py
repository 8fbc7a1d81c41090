from pathlib import Path

Path("a.csv").write_text("order_id,note,amount,\x1b[\u202e\na1,x,1,y\n", "utf-8")
Path("b.csv").write_text("order_id,\x1b note,note\x07,amount\na2,x,x,1\n", "utf-8")
