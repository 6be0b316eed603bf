"""The worker's processes: broker, supervisor, heartbeat, extraction pool."""
