"""SQL: prepared and bulk statements and column types, which know no table."""
