"""What is for sale: drafts by merchants, views for buyers, snapshots in memory."""
