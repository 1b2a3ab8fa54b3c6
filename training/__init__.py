"""Training from dataforge's manifests and traces: instruction tuning and curiosity-driven RL."""
