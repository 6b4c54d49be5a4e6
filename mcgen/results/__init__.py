"""What came out, and how it shows: estimates, their words, figures and reports."""
