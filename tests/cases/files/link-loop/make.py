from pathlib import Path

Path("a.csv").symlink_to("b.csv")
Path("b.csv").symlink_to("a.csv")
