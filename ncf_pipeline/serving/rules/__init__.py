"""What a merchandiser decides about lists: written, checked, tried out and undone. `serving.merchandising` reads it."""
