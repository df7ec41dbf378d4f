"""How good a model is: its figures beside others', as a document, a table and a page."""
