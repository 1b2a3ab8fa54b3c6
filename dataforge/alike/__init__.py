"""What is like what: pictures, questions, and sets as hashes."""
