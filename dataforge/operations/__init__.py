"""Operations: what the student can do to pictures. One file is one operation."""
