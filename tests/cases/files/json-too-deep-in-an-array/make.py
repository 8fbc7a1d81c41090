from pathlib import Path

deep = "[" * 200_000 + r'"]\\\"", "}"' + "]" * 200_000
rows = ['{"order_id": "a1"}', '{"order_id": "a2", "note": ' + deep + "}", '{"order_id": "a3", "note": "]}"}', deep]
Path("input.json").write_text("[\n" + ",\n".join(rows) + "]\n")
