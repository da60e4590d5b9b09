"""Live push: the WebSocket at `/v1/live`, and what travels on it."""
