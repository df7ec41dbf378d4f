"""The processes of a service: the tree, its parent, its workers, and its monitor."""
