"""What a map looks like, and how much it looks like a picture: for people."""
