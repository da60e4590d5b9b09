"""From the gate to the ledger: today the gate's own Redis stream."""
