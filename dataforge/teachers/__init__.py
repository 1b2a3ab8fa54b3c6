"""Teachers: who writes the thoughts. One file is one teacher."""
