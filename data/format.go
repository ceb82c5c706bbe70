package data

// columnKeys are the names that Config.Columns may map to other columns.
var columnKeys = []string{"messages", "conversations", "tools", "system", "prompt", "completion", "instruction", "input", "output", "text", "input_ids", "labels"}
