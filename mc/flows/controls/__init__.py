"""Controls: what people ask of a running flow."""
