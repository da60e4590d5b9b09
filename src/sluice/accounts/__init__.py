"""Who is asking: identity tokens of the merchant's shop, the admin's token, later sessions."""
