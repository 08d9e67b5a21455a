"""Files: one reader protocol, one writer, nothing half done."""
