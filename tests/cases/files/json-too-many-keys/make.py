"""One object has a key for each of its measurements."""

import json
from pathlib import Path

lines = [{"order_id": "a1"}, {"order_id": "a2"} | {f"measured {n}": n for n in range(1999)}, {"order_id": "a3"}]
Path("input.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
