"""Webhooks to the merchant: where they may go, how one is sent, when it is tried again."""
