"""The gateway's side towards Kubernetes: it reads from a watch's cache, writes to the API server and keeps nothing."""
