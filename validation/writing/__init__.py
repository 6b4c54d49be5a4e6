"""How pages are written: tables between marks, pictures of samples."""
