"""What a shop knew at an instant, as numbers. Pure."""
