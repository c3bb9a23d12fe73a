"""Services: what handlers of stored flows reach through their context."""
