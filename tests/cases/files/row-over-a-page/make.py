from pathlib import Path

answers = {"a1": "1", "a2": "because it was so very good", "a3": "1"}
rows = [",".join(["order_id", "note", "amount", *(f"q {number}" for number in range(600))])]
rows += [",".join([order_id, "x", "1", *[answer] * 600]) for order_id, answer in answers.items()]
Path("input.csv").write_text("\n".join(rows) + "\n")
