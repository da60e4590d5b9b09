"""Payment providers behind one port: a simulator, Stripe, and room for others."""
