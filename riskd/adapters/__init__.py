"""What lies outside, one module or package for each: stores, files, databases, parsers. None knows another."""
