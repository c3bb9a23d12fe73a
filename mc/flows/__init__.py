"""The core: flows and the engine that ticks them."""
