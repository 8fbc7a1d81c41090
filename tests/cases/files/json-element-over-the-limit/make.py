from pathlib import Path

long = '{"order_id": "a2",\n"note": ["' + r"\\\"" * 3_000_000 + '"]}'
Path("input.json").write_text('[{"order_id": "a1"},\n' + long + ',\n{"order_id": "a3"}]')
