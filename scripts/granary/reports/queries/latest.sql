select {columns} from {table} order by 1 desc nulls last limit %s
