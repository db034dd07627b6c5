"""The four actions: their parameters, and what they mean in Kubernetes. No I/O."""
