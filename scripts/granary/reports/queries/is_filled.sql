select exists (select from {table} where {column} <> '') as is_filled, exists (select from {table}) as has_rows
