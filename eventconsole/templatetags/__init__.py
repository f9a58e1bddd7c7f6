"""What templates of the console need beside Django's own."""
