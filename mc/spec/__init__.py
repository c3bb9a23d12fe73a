"""Flow specs: their schema, the checks a schema cannot make, their digest, their reading."""
