"""Parts of the documentation's pages: tables that are written between marks, and pictures of samples."""
