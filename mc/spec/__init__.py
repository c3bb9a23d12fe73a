"""What a flow spec may say: its schema, the checks a schema cannot make, its digest, its reading."""
