"""Results of runs, and their texts, tables, figures and reports."""
