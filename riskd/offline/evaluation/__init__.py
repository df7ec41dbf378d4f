"""How good a model is, compared with others: its figures as a document, a table and a page."""
