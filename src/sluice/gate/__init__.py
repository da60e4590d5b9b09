"""The gate: one atomic decision in Redis or Valkey about who gets which unit."""
