"""The ledger: orders, stock and how far the gate's log is recorded, in SQL.

Nothing is imported here: `sluice up` asks `schema` alone, and must not wait for an SQL toolkit.
"""
