"""Sources of real records: one module per family, each a worked example of the Dataset contract."""
