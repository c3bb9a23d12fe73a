"""The numbered migrations: each brings the tables from one version to the next, never back."""
