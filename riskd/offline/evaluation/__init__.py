"""How good a model is, compared with others: as a document, a table and a page."""
