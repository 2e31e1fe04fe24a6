A post that very many servers follow is owed to them in parts, and nobody else's post waits for all of them (`fan_out_domains` in `[limits]`).
